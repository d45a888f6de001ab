"""The format stage: drops counted, lengths told, off-policy pairs refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from contracts.errors import UserError
from contracts.models.model import load_tokenizer
from contracts.steps.facts import OfPolicy
from contracts.steps.fingerprint import of_input
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import read_table, write_part
from contracts.tables.schemas import PAIRS, RESPONSES, TOKENS
from training.config import FormatConfig
from training.format import STAGE

Answers = list[tuple[str, str]]


def write_inputs(folder: Path, policy: str, sampled_from: str, answers: Answers) -> dict[str, str]:
    """PAIRS and RESPONSES folders of the given chosen and rejected texts."""
    tokenizer = load_tokenizer(policy)
    pairs, responses = [], []
    for number, texts in enumerate(answers):
        name = f"p{number}"
        chosen, rejected = ([{"role": "assistant", "content": text}] for text in texts)
        pairs.append({
            "prompt_id": name, "prompt": [{"role": "user", "content": "Name two colours"}],
            "chosen": chosen, "rejected": rejected, "chosen_id": f"{name}-0",
            "rejected_id": f"{name}-1", "chosen_score": 1.0, "rejected_score": 0.0, "margin": 1.0,
            "split": "train",
        })  # fmt: skip
        responses += [
            {
                "prompt_id": name, "response_id": f"{name}-{sample}", "sample": sample, "seed": 0,
                "text": text, "finish_reason": "stop", "n_tokens": 1, "policy": sampled_from,
                "token_ids": tokenizer(text + "<end_of_turn>", add_special_tokens=False).input_ids,
            }
            for sample, text in enumerate(texts)
        ]  # fmt: skip
    inputs = {"policy": policy}
    for name, rows, schema in (("pairs", pairs, PAIRS), ("responses", responses, RESPONSES)):
        (folder / name).mkdir()
        write_part(folder / name, 0, pa.Table.from_pylist(rows, schema=schema), schema)
        result = Result(len(rows), facts=OfPolicy(policy=sampled_from))
        write_manifest(folder / name, name, result, 0.0)
        inputs[name] = str(folder / name)
    return inputs


@pytest.fixture
def formatted(tmp_path: Path, tiny_gemma: Path) -> Callable[..., tuple[Manifest, pa.Table]]:
    def run(answers: Answers, sampled_from: str = "", **settings: Any) -> tuple[Manifest, pa.Table]:
        policy = str(tiny_gemma)
        inputs = write_inputs(tmp_path, policy, sampled_from or of_input(policy), answers)
        limits = {"max_length": 200, "max_prompt_length": 100}
        out = tmp_path / "tokens"
        manifest = run_once(STAGE, FormatConfig(**{**limits, **settings}), inputs, out)
        return manifest, read_table(out)

    return run


def test_rows_that_cannot_be_formatted_are_counted_by_reason(formatted: Callable) -> None:
    manifest, table = formatted(
        [("red and blue", "green"), ("red <eos> blue", "green"), ("red " * 300, "green")]
    )
    assert manifest.rows == table.num_rows == 1
    assert manifest.dropped == {"special_token_in_text": 1, "pair_too_long": 1}
    assert table.schema.equals(TOKENS)


def test_the_manifest_tells_lengths_and_passes_the_policy_on(
    formatted: Callable, tiny_gemma: Path
) -> None:
    manifest, table = formatted([("red", "green")] * 3)
    policy = of_input(str(tiny_gemma))
    assert (manifest.facts["policy"], manifest.facts["formatted_for"]) == (policy, policy)
    assert manifest.facts["lengths"]["chosen"]["max"] == len(table["chosen_ids"][0])
    assert manifest.facts["truncated"] == 0


def test_truncated_pairs_are_counted(formatted: Callable) -> None:
    manifest, table = formatted([("red " * 300, "green")], truncation="right")
    assert manifest.facts["truncated"] == 1
    assert len(table["prompt_ids"][0]) + len(table["chosen_ids"][0]) == 200


def test_a_response_that_the_template_trims_is_no_longer_what_was_sampled(
    formatted: Callable,
) -> None:
    manifest, _ = formatted([("red", " green"), ("blue", "red")])
    assert manifest.facts["retokenized_equal"] == 0.75


def test_sampled_ids_are_trained_on_as_they_are(formatted: Callable, tiny_gemma: Path) -> None:
    _, table = formatted([("red", " green")], response_ids="sampled")
    tokenizer = load_tokenizer(str(tiny_gemma))
    assert tokenizer.decode(table["rejected_ids"][0].as_py()) == " green<end_of_turn>"


def test_pairs_of_another_policy_are_refused_with_both_names(
    formatted: Callable, tiny_gemma: Path
) -> None:
    with pytest.raises(UserError) as error:
        formatted([("red", "green")], sampled_from="hub:other/policy")
    assert "hub:other/policy" in str(error.value)
    assert of_input(str(tiny_gemma)) in str(error.value)
    assert "off_policy: true" in str(error.value)


def test_pairs_of_another_policy_pass_when_the_config_says_so(formatted: Callable) -> None:
    manifest, _ = formatted([("red", "green")], sampled_from="hub:other/policy", off_policy=True)
    assert manifest.facts["policy"] == "hub:other/policy"


def test_pairs_of_which_none_can_be_used_are_refused(formatted: Callable) -> None:
    with pytest.raises(UserError, match="no pair can be used: pair_too_long 2"):
        formatted([("red " * 300, "green")] * 2)


def test_the_manifest_tells_what_the_published_format_reads_otherwise(formatted: Callable) -> None:
    manifest, table = formatted([("red", "green")])
    found = manifest.facts["differs_from_recipe"]
    assert found["pairs"] == 1
    before, after = (found["only_in_recipe"][side] for side in ("before", "after"))
    assert ("".join(before), after) == ("<start_of_turn>model\n", ["\n", "<eos>"])
    ours = (len(table["chosen_ids"][0]) + len(table["rejected_ids"][0])) / 2
    assert found["loss_tokens"] == {"standard": ours, "recipe": ours + len(before) + len(after)}
    assert found["other_answer_tokens"] == 0


def test_the_published_format_itself_is_compared_with_nothing(formatted: Callable) -> None:
    manifest, _ = formatted([("red", "green")], format="recipe")
    assert manifest.facts["differs_from_recipe"] is None
