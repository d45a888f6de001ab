"""Pairing, the best of n and the export of whole tables, run as steps."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from annotation_steps import LENGTH, VOWELS, finish, pair_in, score_in

from annotation import demonstrations
from annotation.config import DemonstrationsConfig
from annotation.selection.published_layout import PUBLISHED, write_published
from contracts.errors import OnPolicyError, UserError
from contracts.steps.step import run_once
from contracts.tables.parts import part_path, part_paths, read_table, write_part
from contracts.tables.schemas import RESPONSES


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


def test_an_automatic_length_penalty_is_a_number_in_the_facts(run_folder):
    """Here the reward is the length: any two texts balance at 1 a token, where all scores tie."""
    score_in(run_folder)
    assert pair_in(run_folder, out="plain", length_penalty=0.5).facts["length_penalty"] == 0.5
    manifest = pair_in(run_folder, length_penalty="auto")
    assert manifest.facts["length_penalty"] == pytest.approx(1, abs=1e-5)
    assert manifest.facts["length_penalty"] < 1
    (run_folder / "pairs" / "_manifest.json").unlink()
    assert pair_in(run_folder, length_penalty="auto").facts == manifest.facts


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
    finish(run_folder / "scores", 18)
    with pytest.raises(UserError, match="response p3-0 has no row in the scores"):
        pair_in(run_folder)
    last.unlink()
    finish(run_folder / "scores", 9)
    with pytest.raises(UserError, match="has 1 parts where"):
        pair_in(run_folder, out="more")


def test_a_prompt_whose_responses_go_on_in_the_next_part_is_refused(run_folder):
    rows = read_table(run_folder / "responses")
    for index, part in enumerate((rows.slice(0, 7), rows.slice(7))):
        write_part(run_folder / "responses", index, part, RESPONSES)
    finish(run_folder / "responses", 18, policy="policy-1")
    score_in(run_folder)
    with pytest.raises(UserError, match=r"part-00001.parquet: goes on with .* prompt p4"):
        pair_in(run_folder)


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
    config = DemonstrationsConfig(min_score=6.0)
    manifest = run_once(demonstrations.STAGE, config, inputs, run_folder / "best")
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
