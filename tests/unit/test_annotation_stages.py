"""Scoring, pairing and export of whole tables, run as steps."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotation import best, pairs, score
from annotation.config import BestConfig, PairsConfig, ScoreConfig
from annotation.export import PUBLISHED, write_published
from contracts.errors import OnPolicyError, UserError
from contracts.manifest import Manifest, Result, read_manifest, write_manifest
from contracts.parts import part_path, part_paths, read_table, write_part
from contracts.step import run_once
from contracts.tables import PROMPTS, RESPONSES

LENGTH = {"kind": "function", "name": "length", "function": "annotation_rewards:length"}
VOWELS = {"kind": "function", "name": "vowels", "function": "annotation_rewards:vowels"}
REWARDS = """
def length(messages, text):
    return float(len(text)) if text != "bad" else float("nan")

def vowels(messages, text):
    return sum(text.count(v) for v in "aeiou") + len(messages) / 100
"""


@pytest.fixture(autouse=True)
def rewards(tmp_path, monkeypatch) -> None:
    """A module of the user's with two reward functions."""
    (tmp_path / "annotation_rewards.py").write_text(REWARDS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "annotation_rewards", raising=False)


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """6 prompts in 3 parts; 3 responses each, in 2 parts of another order than the prompts."""
    words = ["one", "threes", "sevens up", "bad", "eleven of them", "a"]
    prompts = [
        {
            "prompt_id": f"p{i}",
            "messages": [{"role": "user", "content": f"Question {i}"}],
            "source": "test",
            "split": "test" if i == 4 else "train",
        }
        for i in range(6)
    ]
    for part in range(3):
        table = pa.Table.from_pylist(prompts[2 * part : 2 * part + 2], PROMPTS)
        write_part(folder(tmp_path, "prompts"), part, table, PROMPTS)
    responses = [
        response(f"p{i}", sample, words[(i + 2 * sample) % 6])
        for i in (3, 1, 4, 0, 5, 2)
        for sample in range(3)
    ]
    for part in range(2):
        table = pa.Table.from_pylist(responses[9 * part : 9 * part + 9], RESPONSES)
        write_part(folder(tmp_path, "responses"), part, table, RESPONSES)
    finish(tmp_path / "prompts", 6)
    finish(tmp_path / "responses", 18, policy="policy-1")
    return tmp_path


def folder(root: Path, name: str) -> Path:
    (root / name).mkdir(exist_ok=True)
    return root / name


def finish(path: Path, rows: int, **facts: object) -> None:
    write_manifest(path, "test", Result(rows=rows, facts=facts), Manifest.clock())


def response(prompt_id: str, sample: int, text: str) -> dict:
    return {
        "prompt_id": prompt_id,
        "response_id": f"{prompt_id}-{sample}",
        "sample": sample,
        "seed": sample,
        "text": text,
        "token_ids": list(range(len(text))),
        "finish_reason": "stop",
        "n_tokens": len(text),
        "logprob": None,
        "policy": "policy-1",
    }


def score_in(root: Path, *annotators: dict, out: str = "scores") -> Manifest:
    config = ScoreConfig.model_validate({"annotators": annotators or [LENGTH]})
    inputs = {"prompts": str(root / "prompts"), "responses": str(root / "responses")}
    return run_once(score.STAGE, config, inputs, root / out)


def pair_in(root: Path, out: str = "pairs", **config: object) -> Manifest:
    inputs = {name: str(root / name) for name in ("prompts", "responses", "scores")}
    return run_once(pairs.STAGE, PairsConfig.model_validate(config), inputs, root / out)


def test_every_response_has_one_row_from_each_annotator(run_folder):
    manifest = score_in(run_folder, LENGTH, VOWELS)
    table = read_table(run_folder / "scores")
    assert manifest.rows == table.num_rows == 36
    assert len(part_paths(run_folder / "scores")) == 2
    texts = {r["response_id"]: r["text"] for r in read_table(run_folder / "responses").to_pylist()}
    for row in table.to_pylist():
        assert (row["score"] is None) == (row["error"] is not None)
        if row["annotator"] == "length" and row["error"] is None:
            assert row["score"] == len(texts[row["response_id"]])
    order = read_table(run_folder / "responses")["response_id"].to_pylist()
    own = [r["response_id"] for r in table.to_pylist() if r["annotator"] == "vowels"]
    assert own == order


def test_errors_are_rows_and_are_counted(run_folder):
    facts = score_in(run_folder).facts
    assert facts["policy"] == "policy-1"
    own = facts["annotators"]["length"]
    assert own["errors"] == {"not_finite": 3}
    lengths = [len(t) for t in ("one", "threes", "sevens up", "eleven of them", "a") * 3]
    assert own["count"] == 15
    assert own["mean"] == pytest.approx(np.mean(lengths))
    assert own["std"] == pytest.approx(np.std(lengths))


def test_a_resumed_step_gives_the_same_bytes(run_folder):
    whole = score_in(run_folder, LENGTH, VOWELS)
    scores = run_folder / "scores"
    (scores / "_manifest.json").unlink()
    part_path(scores, 1).unlink()
    kept = part_path(scores, 0).stat().st_mtime_ns
    again = score_in(run_folder, LENGTH, VOWELS)
    assert again.files == whole.files
    assert again.facts == whole.facts
    assert part_path(scores, 0).stat().st_mtime_ns == kept


def test_responses_of_unknown_prompts_are_refused(run_folder):
    part_path(run_folder / "prompts", 1).unlink()
    with pytest.raises(UserError, match="has no prompt p3, which responses name"):
        score_in(run_folder)


def test_an_annotator_that_scores_nothing_ends_the_step(run_folder):
    function = {**LENGTH, "function": "annotation_rewards:never"}
    with (run_folder / "annotation_rewards.py").open("a") as file:
        file.write("\ndef never(messages, text):\n    return float('inf')\n")
    with pytest.raises(OnPolicyError, match="not one response was scored"):
        score_in(run_folder, function)


def test_a_function_that_is_not_there_is_named(run_folder):
    with pytest.raises(UserError, match="annotation_rewards:nothing cannot be imported"):
        score_in(run_folder, {**LENGTH, "function": "annotation_rewards:nothing"})


def test_two_annotators_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two annotators are named 'length'"):
        ScoreConfig.model_validate({"annotators": [LENGTH, LENGTH]})


def test_pairs_join_prompts_responses_and_scores(run_folder):
    score_in(run_folder)
    manifest = pair_in(run_folder)
    rows = {row["prompt_id"]: row for row in read_table(run_folder / "pairs").to_pylist()}
    assert rows.keys() == {"p0", "p1", "p2", "p3", "p4", "p5"}
    assert rows["p4"] == {  # "eleven of them", "one", "sevens up"
        "prompt_id": "p4",
        "prompt": [{"role": "user", "content": "Question 4"}],
        "chosen": [{"role": "assistant", "content": "eleven of them"}],
        "rejected": [{"role": "assistant", "content": "one"}],
        "chosen_id": "p4-0",
        "rejected_id": "p4-1",
        "chosen_score": 14.0,
        "rejected_score": 3.0,
        "margin": 11.0,
        "split": "test",
    }
    assert manifest.facts["policy"] == "policy-1"
    assert manifest.facts["annotator"] == "length"
    margins = [row["margin"] for row in rows.values()]
    assert manifest.facts["margin_mean"] == pytest.approx(np.mean(margins))
    assert manifest.facts["margin_quantiles"]["1.0"] == max(margins)
    assert manifest.facts["chosen_longer_share"] == 1.0
    assert len(part_paths(run_folder / "pairs")) == 2


def test_rows_and_drops_add_up_to_the_prompts(run_folder):
    score_in(run_folder)
    manifest = pair_in(run_folder, min_margin=6.5)
    assert manifest.rows + sum(manifest.dropped.values()) == 6
    assert manifest.dropped == {"small_margin": 3}


def test_pairs_made_again_have_the_same_bytes(run_folder):
    score_in(run_folder)
    first = pair_in(run_folder, strategy="max_random")
    (run_folder / "pairs" / "_manifest.json").unlink()
    part_path(run_folder / "pairs", 1).unlink()
    again = pair_in(run_folder, strategy="max_random")
    assert (again.files, again.facts) == (first.files, first.facts)


def test_with_several_annotators_one_must_be_named(run_folder):
    score_in(run_folder, LENGTH, VOWELS)
    with pytest.raises(UserError, match="scores are of length, vowels; say under"):
        pair_in(run_folder)
    assert pair_in(run_folder, out="by-vowels", annotator="vowels").facts["annotator"] == "vowels"
    with pytest.raises(UserError, match="no annotator 'taste' in the scores; there is length, v"):
        pair_in(run_folder, out="by-taste", annotator="taste")


def test_no_pair_at_all_is_a_failure_with_its_reasons(run_folder):
    score_in(run_folder)
    with pytest.raises(OnPolicyError, match=r"no pair came out of 6 prompts: .*small_margin"):
        pair_in(run_folder, min_margin=1000)


def test_scores_of_other_responses_are_refused(run_folder):
    score_in(run_folder)
    last = part_path(run_folder / "scores", 1)
    part_path(run_folder / "scores", 0).write_bytes(last.read_bytes())
    with pytest.raises(UserError, match="response p3-0 has no row in the scores"):
        pair_in(run_folder)
    last.unlink()
    with pytest.raises(UserError, match="has 1 parts where"):
        pair_in(run_folder, out="more")


def test_several_pairs_of_a_prompt_are_rows_of_one_table_and_of_the_export(run_folder):
    score_in(run_folder)
    manifest = pair_in(run_folder, strategy="all_above_margin")
    rows = read_table(run_folder / "pairs").to_pylist()
    assert manifest.rows == len(rows) > manifest.facts["prompts"] == 6
    assert [row["chosen_id"] for row in rows if row["prompt_id"] == "p4"] == [
        "p4-0",
        "p4-0",
        "p4-2",
    ]
    target = run_folder / "train.parquet"
    parts = (run_folder / name for name in ("pairs", "responses", "scores"))
    write_published(*parts, "test", target)
    exported = pq.read_table(target).to_pylist()
    assert [row["all_rm_scores"] for row in exported] == [[14.0, 3.0, 9.0]] * 3


def test_the_best_of_n_loads_as_conversations_for_sft(run_folder):
    score_in(run_folder)
    inputs = {name: str(run_folder / name) for name in ("prompts", "responses", "scores")}
    config = BestConfig(min_score=6.0)
    manifest = run_once(best.STAGE, config, inputs, run_folder / "best")
    rows = {row["prompt_id"]: row for row in read_table(run_folder / "best").to_pylist()}
    assert manifest.rows == len(rows) == 6 - sum(manifest.dropped.values())
    assert rows["p4"] == {
        "prompt_id": "p4",
        "messages": [
            {"role": "user", "content": "Question 4"},
            {"role": "assistant", "content": "eleven of them"},
        ],
        "response_id": "p4-0",
        "score": 14.0,
        "candidates": 3,
        "split": "test",
    }
    assert rows["p3"]["candidates"] == 2  # one of its three has no score


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_the_export_has_the_published_columns(run_folder, kind):
    import datasets

    score_in(run_folder)
    pair_in(run_folder)
    target = run_folder / f"train.{kind}"
    parts = (run_folder / name for name in ("pairs", "responses", "scores"))
    assert write_published(*parts, "train", target) == 5
    loader = {"jsonl": "json"}.get(kind, kind)
    cache = str(run_folder / "cache")
    rows = datasets.load_dataset(loader, data_files=str(target), split="train", cache_dir=cache)
    assert rows.column_names == PUBLISHED.names
    row = next(row for row in rows if row["prompt_id"] == "p3")
    assert row == {
        "prompt_id": "p3",
        "prompt": "Question 3",
        "all_generated_responses": ["bad", "a", "threes"],
        "all_rm_scores": [None, 1.0, 6.0],
        "chosen": [
            {"role": "user", "content": "Question 3"},
            {"role": "assistant", "content": "threes"},
        ],
        "rejected": [
            {"role": "user", "content": "Question 3"},
            {"role": "assistant", "content": "a"},
        ],
    }


def test_an_export_of_unfinished_pairs_is_refused(run_folder):
    score_in(run_folder)
    pair_in(run_folder)
    parts = [run_folder / name for name in ("pairs", "responses", "scores")]
    with pytest.raises(UserError, match=r"name a \.parquet or a \.jsonl file"):
        write_published(*parts, "train", run_folder / "x.csv")
    (run_folder / "pairs" / "_manifest.json").unlink()
    with pytest.raises(UserError, match="these pairs are not finished"):
        write_published(*parts, "train", run_folder / "x.jsonl")


def test_the_manifest_says_what_was_made(run_folder):
    score_in(run_folder)
    manifest = read_manifest(run_folder / "scores")
    assert manifest is not None
    assert json.loads((run_folder / "scores" / "_step.json").read_text())["stage"] == manifest.stage


def test_an_ensemble_has_rows_of_its_own_with_its_disagreement(run_folder):
    members = [{"name": "length"}, {"name": "vowels", "weight": 3}]
    ensemble = {"kind": "ensemble", "name": "both", "members": members}
    manifest = score_in(run_folder, LENGTH, ensemble, VOWELS)
    assert manifest.rows == 54
    assert manifest.facts["annotators"]["both"]["errors"] == {"member_failed": 3}
    assert manifest.facts["annotators"]["both"]["members"] == ["length", "vowels"]
    rows = {}
    for row in read_table(run_folder / "scores").to_pylist():
        rows.setdefault(row["response_id"], {})[row["annotator"]] = row
    for own in rows.values():
        length, vowels, both = (own[name]["score"] for name in ("length", "vowels", "both"))
        assert own["length"]["disagreement"] is None
        if length is not None:
            assert both == pytest.approx((length + 3 * vowels) / 4)
            spread = abs(length - vowels) * 3**0.5 / 4
            assert own["both"]["disagreement"] == pytest.approx(spread)
    assert pair_in(run_folder, annotator="both").rows > 0


def test_what_a_function_refuses_is_an_error_row_and_another_annotator_goes_on(run_folder):
    function = {**LENGTH, "name": "picky", "function": "annotation_rewards:picky"}
    with (run_folder / "annotation_rewards.py").open("a") as file:
        file.write(
            "\nfrom contracts.chat import RowError\n"
            "def picky(messages, text):\n    raise RowError('off_topic', 'no such prompt')\n"
        )
    manifest = score_in(run_folder, LENGTH, function)
    found = manifest.facts["annotators"]
    assert found["picky"]["errors"] == {"off_topic": 18} and found["length"]["count"] == 15
