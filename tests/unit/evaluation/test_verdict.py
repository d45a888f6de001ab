"""The verdict of a round, from tables and facts as a run's steps leave them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from contracts.errors import UserError
from contracts.steps.facts import Facts
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.tables.parts import read_table, write_part
from contracts.tables.schemas import ANSWERS, PROMPTS, REASONS, RESPONSES, SCORES
from evaluation import compare
from evaluation.answers import AnswersFacts, BenchmarkAnswers
from evaluation.config import CompareConfig, RoundVerdictConfig
from evaluation.verdict import STAGE, VerdictFacts, VerdictInputs
from generation.sample import SampleFacts

IDS = [f"p{number}" for number in range(12)]
POLICIES = ("start", "before", "after")


def write(folder: Path, schema: pa.Schema, rows: Sequence[dict[str, Any]], facts: Facts) -> None:
    folder.mkdir(parents=True)
    write_part(folder, 0, pa.Table.from_pylist(list(rows), schema=schema), schema)
    write_manifest(folder, folder.name, Result(len(rows), facts=facts), Manifest.clock())


def write_policy(
    folder: Path, policy: str, rewards: dict[str, float], tokens: int, gsm8k: float | None
) -> None:
    """Two held-out answers a prompt, scored by each annotator around its reward."""
    scores, responses = [], []
    for place, prompt in enumerate([*IDS, "benchmark"]):
        for sample in range(2):
            key = {"prompt_id": prompt, "response_id": f"{prompt}-{sample}"}
            scores += [
                key | {"annotator": name, "score": reward + 0.01 * (place + sample)}
                for name, reward in rewards.items()
            ]
            length = tokens if prompt in IDS else 999
            responses.append(
                key | {"sample": sample, "seed": 0, "text": "x", "token_ids": [1],
                       "finish_reason": "stop", "n_tokens": length, "policy": policy}
            )  # fmt: skip
    write(folder / f"{policy}_scores", SCORES, scores, Facts())
    sampled = SampleFacts(tokens=1, truncated=0, repetition=0.01, tokens_per_second=None)
    write(folder / f"{policy}_responses", RESPONSES, responses, sampled)
    if gsm8k is not None:
        asked = BenchmarkAnswers(
            turns=9, answered=9, truncated=0, characters=1.0, accuracy=gsm8k, unparsed=0
        )
        answered = AnswersFacts(benchmarks={"gsm8k": asked})
        write(folder / f"{policy}_answers", ANSWERS, [], answered)


def decided(
    folder: Path,
    gains: dict[str, float],
    tokens: int = 11,
    gsm8k: tuple[float, float] | None = None,
    config: RoundVerdictConfig | None = None,
) -> VerdictFacts:
    """The facts of the verdict on a policy whose rewards rose by `gains`."""
    prompts = [
        {"prompt_id": name, "messages": [{"role": "user", "content": name}], "source": "s",
         "split": "test" if name in IDS else "benchmark"}
        for name in [*IDS, "benchmark"]
    ]  # fmt: skip
    write(folder / "prompts", PROMPTS, prompts, Facts())
    for policy in POLICIES:
        risen = {name: gain if policy == "after" else 0.0 for name, gain in gains.items()}
        accuracy = gsm8k[policy == "after"] if gsm8k and policy != "start" else None
        write_policy(folder, policy, risen, tokens if policy == "after" else 10, accuracy)
    read = {f"{policy}_scores": folder / f"{policy}_scores" for policy in POLICIES}
    made = folder / "comparison"
    made.mkdir()
    compared = compare.run(
        CompareConfig(resamples=100),
        compare.CompareInputs(prompts=folder / "prompts", **read),
        made,
    )
    write_manifest(made, "evaluation.compare", compared, Manifest.clock())
    for policy in POLICIES[1:]:
        read |= {f"{policy}_responses": folder / f"{policy}_responses"}
        read |= {f"{policy}_answers": folder / f"{policy}_answers"} if gsm8k else {}
    (folder / "verdict").mkdir()
    inputs = VerdictInputs(prompts=folder / "prompts", comparison=made, **read)
    config = config or RoundVerdictConfig(trained_by="armo", second="truth")
    facts = STAGE.run(config, inputs, folder / "verdict").facts
    assert isinstance(facts, VerdictFacts)
    return facts


def test_a_round_that_gains_by_both_annotators_is_better_and_each_measure_has_a_row(
    tmp_path: Path,
) -> None:
    found = decided(tmp_path, {"armo": 0.5, "truth": 0.2})
    assert found.outcome == "better"
    table = read_table(tmp_path / "verdict")
    assert table.schema.equals(REASONS)
    effects = dict(zip(table["measure"].to_pylist(), table["effect"].to_pylist(), strict=True))
    assert effects["training_reward"] == effects["second_reward"] == effects["win_rate"] == "better"
    assert {name for name, effect in effects.items() if effect == "missing"} == {
        "refusals", "gsm8k", "mmlu", "ifeval", "drift",
    }  # fmt: skip


def test_the_win_rate_is_the_second_annotators_and_both_stand_in_the_facts(tmp_path: Path) -> None:
    found = decided(tmp_path, {"armo": 0.5, "truth": -0.5})
    assert found.outcome == "worse"
    assert found.evidence.win_rate and found.evidence.win_rate.value == 0
    assert found.over_start["armo"].win_rate.value == 100
    assert found.over_before["truth"].n == len(IDS)


def test_without_a_second_annotator_a_gain_is_not_yet_better(tmp_path: Path) -> None:
    alone = RoundVerdictConfig(trained_by="armo")
    found = decided(tmp_path, {"armo": 0.5}, config=alone)
    assert found.outcome == "same"
    assert "better cannot be said without second_reward" in found.reasons[-1].says


def test_length_is_that_of_the_held_out_answers_alone_and_may_make_it_worse(tmp_path: Path) -> None:
    found = decided(tmp_path, {"armo": 0.5, "truth": 0.2}, tokens=14)
    assert (found.lengths.before, found.lengths.after, found.outcome) == (10, 14, "worse")


@pytest.mark.parametrize(("after", "outcome"), [(0.85, "better"), (0.8, "worse")])
def test_a_benchmark_that_the_run_answers_counts(
    tmp_path: Path, after: float, outcome: str
) -> None:
    found = decided(tmp_path, {"armo": 0.5, "truth": 0.2}, gsm8k=(0.86, after))
    assert found.evidence.gsm8k and found.evidence.gsm8k.after == pytest.approx(100 * after)
    assert found.outcome == outcome


def test_facts_of_another_version_are_told_with_the_way_out(tmp_path: Path) -> None:
    decided(tmp_path, {"armo": 0.5})
    manifest = tmp_path / "after_responses" / "_manifest.json"
    manifest.write_text(manifest.read_text().replace('"repetition"', '"repeats"'))
    inputs = {name: tmp_path / name for name in VerdictInputs.model_fields}
    del inputs["before_answers"], inputs["after_answers"]
    with pytest.raises(UserError, match="repetition"):
        STAGE.run(RoundVerdictConfig(trained_by="armo"), VerdictInputs(**inputs), tmp_path / "x")
