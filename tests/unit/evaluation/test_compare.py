"""What a round gained, on small tables that can be worked by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts.errors import OnPolicyError, UserError
from contracts.steps.manifest import Result
from contracts.tables.parts import read_part, read_table, write_part
from contracts.tables.schemas import COMPARISON, PROMPTS, SCORES
from evaluation.compare import STAGE, CompareInputs, Shares, pair_up, run
from evaluation.config import CompareConfig

Scores = Mapping[str, Mapping[str, list[float | None]]]
"""Annotator to prompt id to the scores of its answers."""


def write_prompts(folder: Path, splits: Mapping[str, str]) -> str:
    rows = [
        {
            "prompt_id": name,
            "messages": [{"role": "user", "content": f"question {name}"}],
            "source": "questions.json",
            "split": split,
        }
        for name, split in splits.items()
    ]
    return write_rows(folder, rows, PROMPTS)


def write_scores(folder: Path, scores: Scores, cut: Mapping[str, int] | None = None) -> str:
    rows = [
        {
            "response_id": f"{prompt}-{sample}",
            "prompt_id": prompt,
            "annotator": annotator,
            "score": score,
            "objectives": None,
            "cut": (cut or {}).get(f"{prompt}-{sample}"),
            "error": "too long" if score is None else None,
        }
        for annotator, prompts in scores.items()
        for prompt, values in prompts.items()
        for sample, score in enumerate(values)
    ]
    return write_rows(folder, rows, SCORES)


def write_rows(folder: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> str:
    """Two parts, so that no result depends on where a part ends."""
    folder.mkdir()
    half = len(rows) // 2
    for index, part in enumerate((rows[:half], rows[half:])):
        write_part(folder, index, pa.Table.from_pylist(part, schema=schema), schema)
    return str(folder)


SPLITS = {
    "t1": "test",
    "t2": "test",
    "t3": "test",
    "x": "train",
    "b1": "benchmark",
    "b2": "benchmark",
}
START: Scores = {"armo": {"t1": [0.0, 2.0], "t2": [1.0, 1.0], "t3": [0.0, 0.0], "x": [9.0, 9.0]}}
BEFORE: Scores = {"armo": {"t1": [2.0, 2.0], "t2": [1.0, 2.0], "t3": [1.0, 1.0]}}
AFTER: Scores = {"armo": {"t1": [3.0, 3.0], "t2": [2.0, 3.0], "t3": [2.0, 2.0], "b1": [7.0, 7.0]}}


def compare(
    folder: Path,
    start: Scores = START,
    before: Scores = BEFORE,
    after: Scores = AFTER,
    splits: Mapping[str, str] = SPLITS,
    cut: Mapping[str, int] | None = None,
) -> Result:
    folder.mkdir(exist_ok=True)
    inputs = {"prompts": write_prompts(folder / "prompts", splits)}
    for policy, scores in (("start", start), ("before", before), ("after", after)):
        inputs[f"{policy}_scores"] = write_scores(folder / f"{policy}_scores", scores, cut)
    (folder / "out").mkdir()
    return run(CompareConfig(resamples=200), CompareInputs(**inputs), folder / "out")


def test_rewards_are_averaged_per_prompt_and_paired_by_id(tmp_path: Path) -> None:
    result = compare(tmp_path)
    table = read_table(tmp_path / "out")
    assert table.schema.equals(COMPARISON)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("t1", "armo", 1.0, 2.0, 3.0, 0, 0, 0),
        ("t2", "armo", 1.0, 1.5, 2.5, 0, 0, 0),
        ("t3", "armo", 0.0, 1.0, 2.0, 0, 0, 0),
    ]
    assert result.rows == 3
    assert result.dropped == {"unscored": 0}


def test_gains_over_the_start_and_over_the_round_before_come_with_intervals(
    tmp_path: Path,
) -> None:
    gains = compare(tmp_path).facts.gains["armo"]
    assert (gains.start, gains.before, gains.after) == pytest.approx((2 / 3, 1.5, 2.5))
    assert gains.model_dump(mode="json")["over_before"] == {
        "mean": 1.0, "low": 1.0, "high": 1.0, "confidence": 0.95, "prompts": 3,
        "at_lowest": 1.0, "at_highest": 1.0, "alike_unscored": True, "verdict": "unclear",
    }  # fmt: skip
    over_start = gains.over_start
    assert over_start.mean == pytest.approx(11 / 6)
    assert 1.5 <= over_start.low <= over_start.mean <= over_start.high <= 2.0


def test_a_prompt_with_an_unscored_answer_leaves_the_gain_and_widens_its_bounds(
    tmp_path: Path,
) -> None:
    result = compare(tmp_path, before={"armo": {**BEFORE["armo"], "t2": [1.0, None]}})
    rows = {row["prompt_id"]: row for row in read_table(tmp_path / "out").to_pylist()}
    assert result.rows == len(rows) == 3 and result.dropped["unscored"] == 0
    assert (rows["t2"]["before"], rows["t2"]["before_unscored"]) == (None, 1)
    gain = result.facts.gains["armo"]
    over = gain.over_before
    assert (over.mean, over.low, over.high, over.prompts) == (1.0, 1.0, 1.0, 2)
    # The lowest score is 0, the highest 3, so before it t2 had a mean of 0.5 to 2.
    assert 0.5 <= over.at_lowest < 1.0 < over.at_highest <= 2.0
    assert gain.unscored == {"start": 0.0, "before": pytest.approx(1 / 6), "after": 0.0}


def test_eighty_broken_answers_of_two_hundred_are_no_sure_gain(tmp_path: Path) -> None:
    """The others are 0.02 better; the broken ones are without a score, not without a meaning."""
    names = [f"t{number}" for number in range(200)]
    noise = np.random.default_rng(0).normal(0.1, 0.02, size=200)
    old: Scores = {"armo": {name: [noise[place]] for place, name in enumerate(names)}}
    new: Scores = {"armo": {name: [value + 0.02] for name, (value,) in old["armo"].items()}}
    broken: Scores = {"armo": {**new["armo"], **{name: [None] for name in names[:80]}}}
    splits = dict.fromkeys(names, "test")
    whole = compare(tmp_path / "whole", old, old, new, splits).facts.gains["armo"]
    assert whole.over_before.verdict == "better"
    found = compare(tmp_path / "broken", old, old, broken, splits).facts.gains["armo"]
    over = found.over_before
    assert over.mean == pytest.approx(0.02) and over.low > 0 and over.prompts == 120
    assert over.at_lowest < 0 and over.verdict == "unclear"
    assert found.unscored == {"start": 0.0, "before": 0.0, "after": 0.4}


def test_a_gain_at_the_lowest_score_seen_is_not_sure_where_the_new_policy_alone_broke(
    tmp_path: Path,
) -> None:
    """One answer in ten is unscored; the others are better by far, whatever score it had."""
    names = [f"t{number}" for number in range(40)]
    old: Scores = {"armo": {name: [0.0] for name in names}}
    new: Scores = {"armo": {name: [1.0 if name in names[4:] else None] for name in names}}
    found = compare(tmp_path, old, old, new, dict.fromkeys(names, "test")).facts.gains["armo"]
    over = found.over_before
    assert min(over.low, over.at_lowest) > 0 and over.verdict == "unclear"
    assert found.unscored == {"start": 0.0, "before": 0.0, "after": 0.1}


def test_a_request_that_failed_is_an_answer_without_a_score(tmp_path: Path) -> None:
    after: Scores = {"armo": {**AFTER["armo"], "t2": [2.0]}}
    gain = compare(tmp_path, after={"armo": {k: v for k, v in after["armo"].items() if k != "t3"}})
    rows = read_table(tmp_path / "out").to_pylist()
    assert [row["after_unscored"] for row in rows] == [0, 1, 2]
    assert gain.facts.gains["armo"].unscored["after"] == 0.5


def test_a_prompt_that_nobody_could_be_scored_on_tells_no_policy_from_another(
    tmp_path: Path,
) -> None:
    """Such as one that is too long for the reward model: it neither counts nor widens a bound."""
    policies: list[Scores] = [
        {"armo": {**scores["armo"], "t2": [None, None]}} for scores in (START, BEFORE, AFTER)
    ]
    result = compare(tmp_path, *policies)
    assert result.rows == 2 and result.dropped == {"unscored": 1}
    over = result.facts.gains["armo"].over_before
    assert (over.at_lowest, over.at_highest) == (over.low, over.high)


def test_the_share_of_answers_scored_in_part_is_told(tmp_path: Path) -> None:
    facts = compare(tmp_path, cut={"t1-0": 17}).facts.gains["armo"]
    assert facts.cut == {policy: pytest.approx(1 / 6) for policy in ("start", "before", "after")}


def test_each_annotator_is_compared_on_its_own_and_its_gaps_are_its_own(tmp_path: Path) -> None:
    judge: Scores = {"judge": {"t1": [0.5], "t2": [None], "t3": [0.5]}}
    result = compare(tmp_path, *({**scores, **judge} for scores in (START, BEFORE, AFTER)))
    table = read_table(tmp_path / "out")
    assert table["annotator"].to_pylist() == ["armo"] * 3 + ["judge"] * 2  # t2 has no score
    assert result.dropped["unscored"] == 1
    assert result.facts.gains["judge"].over_start.mean == 0.0


def test_an_annotator_that_scored_nothing_is_not_lost_without_a_count(tmp_path: Path) -> None:
    silent: Scores = {"judge": {"t1": [None], "t2": [None], "t3": [None]}}
    result = compare(tmp_path, *({**scores, **silent} for scores in (START, BEFORE, AFTER)))
    assert list(result.facts.gains) == ["armo"]
    assert result.dropped["unscored"] == 3


def test_an_annotator_without_one_whole_prompt_tells_its_shares_alone(tmp_path: Path) -> None:
    torn: Scores = {"judge": {"t1": [None, 1.0], "t2": [1.0, None]}}
    result = compare(tmp_path, *({**scores, **torn} for scores in (START, BEFORE, AFTER)))
    half = dict.fromkeys(("start", "before", "after"), 0.5)
    assert result.facts.gains["judge"].unscored == half
    assert type(result.facts.gains["judge"]) is Shares


def test_nothing_to_compare_is_a_failure_that_names_the_scores(tmp_path: Path) -> None:
    with pytest.raises(OnPolicyError, match="after_scores: no held-out prompt has a score"):
        compare(tmp_path, after={"armo": {"t1": [None], "x": [1.0]}})
    assert not list((tmp_path / "out").iterdir())


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    inputs = {"prompts": write_prompts(tmp_path / "prompts", SPLITS)}
    inputs |= {f"{name}_scores": tmp_path / "nowhere" for name in ("start", "before", "after")}
    with pytest.raises(UserError, match=r"nowhere: holds no part-\*\.parquet"):
        run(CompareConfig(), CompareInputs(**inputs), tmp_path)


def test_the_same_tables_give_the_same_bytes(tmp_path: Path) -> None:
    outputs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        compare(tmp_path / name)
        files = sorted((tmp_path / name / "out").iterdir())
        outputs.append([path.read_bytes() for path in files])
    assert outputs[0] == outputs[1]


def test_means_do_not_depend_on_how_the_rows_are_spread_over_batches(tmp_path: Path) -> None:
    scores = {"armo": {f"p{i}": [0.1 * j + i * 1e-9 for j in range(5)] for i in range(200)}}
    table = read_table(Path(write_scores(tmp_path / "scores", scores)))
    shattered = pa.Table.from_batches(table.to_batches(max_chunksize=7))
    one, other = (
        pair_up(dict.fromkeys(("start", "before", "after"), rows))
        for rows in (table.combine_chunks(), shattered)
    )
    assert one.equals(other)


def test_a_parquet_part_of_the_comparison_explains_itself(tmp_path: Path) -> None:
    compare(tmp_path)
    part = read_part(tmp_path / "out" / "part-00000.parquet")
    assert b"trained policy" in part.schema.field("after").metadata[b"doc"]
    assert STAGE.module == "evaluation.compare"
