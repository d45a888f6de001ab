"""Scoring of whole tables, run as a step."""

import json
import shutil

import numpy as np
import pytest
from annotation_steps import LENGTH, VOWELS, finish, pair_in, score_in

from annotation.config import ScoreConfig
from contracts.errors import OnPolicyError, UserError
from contracts.steps.manifest import read_manifest
from contracts.tables.parts import part_path, part_paths, read_table, write_part
from contracts.tables.schemas import RESPONSES


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
    finish(run_folder / "prompts", 3)
    with pytest.raises(UserError, match="has no prompt p3, which responses name"):
        score_in(run_folder)


def test_an_annotator_that_scores_nothing_ends_the_step(run_folder):
    function = {**LENGTH, "function": "annotation_rewards:never"}
    with (run_folder / "annotation_rewards.py").open("a") as file:
        file.write("\ndef never(messages, text):\n    return float('inf')\n")
    with pytest.raises(OnPolicyError, match="not one response was scored") as caught:
        score_in(run_folder, function)
    assert "--redo" not in str(caught.value)
    assert not part_paths(run_folder / "scores")
    assert score_in(run_folder).rows == 18  # by another annotator, in the same folder


def test_a_function_that_is_not_there_is_named(run_folder):
    with pytest.raises(UserError, match="annotation_rewards:nothing cannot be imported"):
        score_in(run_folder, {**LENGTH, "function": "annotation_rewards:nothing"})


def test_two_annotators_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two annotators are named 'length'"):
        ScoreConfig.model_validate({"annotators": [LENGTH, LENGTH]})


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


def test_a_prompt_in_two_parts_is_refused_where_its_responses_are_compared(run_folder):
    folder = run_folder / "responses"
    tables = [read_table(folder).slice(*part) for part in ((0, 8), (8, 10))]
    for index, table in enumerate(tables):
        write_part(folder, index, table, RESPONSES)
    finish(folder, 18, policy="policy-1")
    members = [{"name": "length"}, {"name": "vowels"}]
    ensemble = {"kind": "ensemble", "name": "both", "members": members}
    with pytest.raises(UserError, match=r"part-00001.parquet: has responses to prompt p4, and so"):
        score_in(run_folder, LENGTH, VOWELS, {**ensemble, "scale": "prompt"})
    shutil.rmtree(run_folder / "scores")
    assert score_in(run_folder, LENGTH, VOWELS, ensemble).rows == 54
