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
from evaluation.verdicts.decide import decide
from evaluation.verdicts.evidence import Evidence
from evaluation.verdicts.findings import Reason
from evaluation.verdicts.gather import accuracies, lengths
from evaluation.verdicts.limits import VerdictConfig

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
    write(folder / f"{policy}_responses", RESPONSES, responses, Facts())
    if gsm8k is not None:
        graded = [number < 1000 * gsm8k for number in range(1000)]
        write_answers(folder / f"{policy}_answers", graded)


def write_answers(folder: Path, graded: Sequence[bool | None], ifeval: float = 0.5) -> None:
    """Answers to GSM8K, None where there is none, and IFEval's accuracy over 500."""
    rows = [
        {"benchmark": "gsm8k", "question_id": str(number), "turn": 1, "sample": 0,
         "prompt_id": str(number), "response_id": f"{number}-0", "category": "", "messages": [],
         "correct": correct, "error": "crashed" if correct is None else None, "preset": "recipe",
         "n": 1, "temperature": 0.0, "top_p": 1.0, "max_tokens": 9}
        for number, correct in enumerate(graded)
    ]  # fmt: skip
    asked = {"truncated": 0, "characters": 1.0, "accuracy": None, "unparsed": None}
    strict = {"prompt_level_strict_acc,none": ifeval}
    one = BenchmarkAnswers.model_validate(
        {"turns": 500, "answered": 500, "metrics": strict} | asked
    )
    write(folder, ANSWERS, rows, AnswersFacts(benchmarks={"ifeval": one}))


def decided(
    folder: Path,
    gains: dict[str, float],
    tokens: int = 11,
    *,
    start_tokens: int | None = None,
    gsm8k: tuple[float, float] | None = None,
    config: RoundVerdictConfig | None = None,
) -> VerdictFacts:
    """The facts of the verdict on a policy whose rewards rose by `gains`.

    Args:
        start_tokens: length of the start's answers, where it isn't the policy before.
    """
    prompts = [
        {"prompt_id": name, "messages": [{"role": "user", "content": name}], "source": "s",
         "split": "test" if name in IDS else "benchmark"}
        for name in [*IDS, "benchmark"]
    ]  # fmt: skip
    write(folder / "prompts", PROMPTS, prompts, Facts())
    for policy in POLICIES:
        risen = {name: gain if policy == "after" else 0.0 for name, gain in gains.items()}
        accuracy = gsm8k[policy == "after"] if gsm8k and policy != "start" else None
        length = {"start": start_tokens or 10, "before": 10, "after": tokens}[policy]
        write_policy(folder, policy, risen, length, accuracy)
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
    if start_tokens:
        read |= {"start_responses": folder / "start_responses"}
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
        "alpaca_eval", "arena_hard", "mt_bench",
        "repetition", "gsm8k", "mmlu", "ifeval", "drift",
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


@pytest.mark.parametrize(("start", "outcome"), [(8, "better"), (6, "worse")])
def test_answers_that_grow_a_little_every_round_are_worse_once_they_have_grown_too_much(
    tmp_path: Path, start: int, outcome: str
) -> None:
    found = decided(tmp_path, {"armo": 0.5, "truth": 0.2}, tokens=12, start_tokens=start)
    assert found.evidence.length and found.evidence.length.before == 10
    since = next(one for one in found.reasons if one.measure == "length_since_start")
    assert f"{12 / start:.3g} times as long as at the start; allowed is 1.69" in since.says
    assert found.outcome == outcome


@pytest.mark.parametrize(("after", "outcome"), [(0.85, "better"), (0.8, "worse")])
def test_a_benchmark_that_the_run_answers_counts(
    tmp_path: Path, after: float, outcome: str
) -> None:
    found = decided(tmp_path, {"armo": 0.5, "truth": 0.2}, gsm8k=(0.86, after))
    assert found.evidence.gsm8k and found.evidence.gsm8k.after == pytest.approx(100 * after)
    assert found.outcome == outcome


def gsm8k(folder: Path, before: list[bool | None], after: list[bool | None]) -> Reason:
    """What the verdict says of these answers."""
    write_answers(folder / "before", before)
    write_answers(folder / "after", after)
    changes = accuracies(folder / "before", folder / "after")
    reasons = decide(Evidence(**changes), VerdictConfig()).reasons
    return next(reason for reason in reasons if reason.measure == "gsm8k")


def test_one_answer_of_twenty_or_of_one_is_no_harm(tmp_path: Path) -> None:
    few = gsm8k(tmp_path / "20", [True] * 20, [True] * 19 + [False])
    assert (few.effect, "100 before, 95 after" in few.says) == ("same", True)
    assert gsm8k(tmp_path / "1", [True], [False]).effect == "same"
    assert gsm8k(tmp_path / "all", [True] * 20, [True] * 10 + [False] * 10).effect == "worse"


def test_a_policy_that_answers_less_is_not_measured_by_what_it_answered(tmp_path: Path) -> None:
    before: list[bool | None] = [True] * 80 + [False] * 20
    after = [True] * 45 + [False] * 5 + [None] * 50
    unequal = gsm8k(tmp_path / "unequal", before, after)
    assert unequal.effect == "missing"
    assert "80 before, 45 after" in unequal.says and "left out more answers" in unequal.says
    assert gsm8k(tmp_path / "equal", [*before[:50], *[None] * 50], after).effect == "same"


def test_ifevals_fall_is_a_harm_where_its_two_shares_surely_differ(tmp_path: Path) -> None:
    for name, share in (("before", 0.8), ("close", 0.74), ("far", 0.65)):
        write_answers(tmp_path / name, [], share)
    close, far = (
        accuracies(tmp_path / "before", tmp_path / after)["ifeval"] for after in ("close", "far")
    )
    harms = [decide(Evidence(ifeval=change), VerdictConfig()).outcome for change in (close, far)]
    assert harms == ["same", "worse"]


def test_length_is_compared_over_the_prompts_that_both_answered(tmp_path: Path) -> None:
    decided(tmp_path, {"armo": 0.5})
    after = read_table(tmp_path / "after_responses")
    write(tmp_path / "few", RESPONSES, after.to_pylist()[:8], Facts())
    long = [row | {"n_tokens": 90} for row in after.to_pylist()[8:]]
    write(tmp_path / "old", RESPONSES, [*after.to_pylist()[:8], *long], Facts())
    found = lengths(tmp_path / "old", tmp_path / "few", pa.array(IDS))
    assert (found.before, found.after) == (11, 11)


def test_facts_of_another_version_are_told_with_the_way_out(tmp_path: Path) -> None:
    decided(tmp_path, {"armo": 0.5})
    manifest = tmp_path / "comparison" / "_manifest.json"
    manifest.write_text(manifest.read_text().replace('"gains"', '"gained"'))
    inputs = {name: tmp_path / name for name in VerdictInputs.model_fields}
    del inputs["before_answers"], inputs["after_answers"]
    with pytest.raises(UserError, match="gains"):
        STAGE.run(RoundVerdictConfig(trained_by="armo"), VerdictInputs(**inputs), tmp_path / "x")
