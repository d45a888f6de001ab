"""The published scripts' round beside ours: the same pairs as the same texts, and what is timed."""

import json
import os
from pathlib import Path

import pytest

from benchmarks.support.recipe_scripts import RecipeJob, _row, combine
from benchmarks.support.run_times import spans
from contracts.chat import ChatFormat, Message
from contracts.models.model import load_tokenizer

MESSAGES: list[Message] = [{"role": "user", "content": "Give me two colours."}]


def test_what_a_script_is_asked_comes_back_as_it_was_written(tmp_path: Path) -> None:
    asked = RecipeJob({"p1": MESSAGES}, max_tokens=48, epochs=2)
    asked.write(tmp_path)
    assert RecipeJob.read(tmp_path) == asked


def test_a_prompt_whose_answers_are_all_identical_is_left_out(tmp_path: Path) -> None:
    for seed, answers in {13: ["red", "blue"], 21: ["red", "green"]}.items():
        texts = dict(zip(("same", "other"), answers, strict=True))
        (tmp_path / f"output_{seed}.json").write_text(json.dumps(texts))
    combine(tmp_path)
    assert json.loads((tmp_path / "all_outputs.json").read_text()) == {"other": ["blue", "green"]}


def test_trl_is_given_the_texts_that_our_tokens_are_of(tiny_gemma: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_gemma))
    row = _row(tokenizer, MESSAGES, {"chosen": "red and blue", "rejected": "name three"})
    ours = ChatFormat(tokenizer).response_tokens(MESSAGES, "red and blue")
    theirs = tokenizer(row["prompt"] + row["chosen"], add_special_tokens=False).input_ids
    assert [tokenizer.bos_token_id, *theirs] == [*ours.prompt, *ours.response, *ours.trailer]
    assert not row["prompt"].startswith(tokenizer.bos_token)


def test_a_steps_span_is_from_its_claim_to_its_manifest_and_unfinished_ones_have_none(
    tmp_path: Path,
) -> None:
    for name, claimed, done in (("scores", 30, 40), ("responses", 10, 25), ("policy", 50, None)):
        (tmp_path / "round-1" / name).mkdir(parents=True)
        for file, time in (("_step.json", claimed), ("_manifest.json", done)):
            if time:
                path = tmp_path / "round-1" / name / file
                path.touch()
                os.utime(path, (time, time))
    assert spans(tmp_path) == {"round-1/responses": (10, 25), "round-1/scores": (30, 40)}
    assert [*spans(tmp_path)] == ["round-1/responses", "round-1/scores"]


@pytest.mark.parametrize("name", ["round_vs_recipe", "generation_vs_recipe"])
def test_both_sides_are_sampled_with_the_published_seeds(name: str) -> None:
    import importlib

    assert [*importlib.import_module(f"benchmarks.{name}")._SEEDS] == [13, 21, 42, 79, 100]
