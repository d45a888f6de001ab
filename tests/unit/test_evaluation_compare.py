"""What a round gained, on small tables that can be worked by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from contracts.errors import OnPolicyError, UserError
from contracts.manifest import Result
from contracts.parts import read_part, read_table, write_part
from contracts.tables import COMPARISON, PROMPTS, SCORES
from evaluation.compare import STAGE, mean_rewards, run
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


def write_scores(folder: Path, scores: Scores) -> str:
    rows = [
        {
            "response_id": f"{prompt}-{sample}",
            "prompt_id": prompt,
            "annotator": annotator,
            "score": score,
            "objectives": None,
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
) -> Result:
    inputs = {"prompts": write_prompts(folder / "prompts", SPLITS)}
    for policy, scores in (("start", start), ("before", before), ("after", after)):
        inputs[f"{policy}_scores"] = write_scores(folder / f"{policy}_scores", scores)
    (folder / "out").mkdir()
    return run(CompareConfig(resamples=200), inputs, folder / "out")


def test_rewards_are_averaged_per_prompt_and_paired_by_id(tmp_path: Path) -> None:
    result = compare(tmp_path)
    table = read_table(tmp_path / "out")
    assert table.schema.equals(COMPARISON)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("t1", "armo", 1.0, 2.0, 3.0),
        ("t2", "armo", 1.0, 1.5, 2.5),
        ("t3", "armo", 0.0, 1.0, 2.0),
    ]
    assert result.rows == 3
    assert result.dropped == {"unscored": 0}


def test_gains_over_the_start_and_over_the_round_before_come_with_intervals(
    tmp_path: Path,
) -> None:
    gains = compare(tmp_path).facts["gains"]["armo"]
    assert (gains["start"], gains["before"], gains["after"]) == pytest.approx((2 / 3, 1.5, 2.5))
    assert gains["over_before"] == {
        "mean": 1.0, "low": 1.0, "high": 1.0, "confidence": 0.95, "prompts": 3,
    }  # fmt: skip
    over_start = gains["over_start"]
    assert over_start["mean"] == pytest.approx(11 / 6)
    assert 1.5 <= over_start["low"] <= over_start["mean"] <= over_start["high"] <= 2.0


def test_a_prompt_with_an_unscored_answer_is_left_out_and_counted(tmp_path: Path) -> None:
    result = compare(tmp_path, before={"armo": {**BEFORE["armo"], "t2": [1.0, None]}})
    assert read_table(tmp_path / "out")["prompt_id"].to_pylist() == ["t1", "t3"]
    assert result.rows == 2
    assert result.dropped["unscored"] == 1


def test_each_annotator_is_compared_on_its_own_and_its_gaps_are_its_own(tmp_path: Path) -> None:
    judge: Scores = {"judge": {"t1": [0.5], "t2": [None], "t3": [0.5]}}
    result = compare(tmp_path, *({**scores, **judge} for scores in (START, BEFORE, AFTER)))
    table = read_table(tmp_path / "out")
    assert table["annotator"].to_pylist() == ["armo"] * 3 + ["judge"] * 2
    assert result.dropped["unscored"] == 1
    assert result.facts["gains"]["judge"]["over_start"]["mean"] == 0.0


def test_an_annotator_that_scored_nothing_is_not_lost_without_a_count(tmp_path: Path) -> None:
    silent: Scores = {"judge": {"t1": [None], "t2": [None], "t3": [None]}}
    result = compare(tmp_path, *({**scores, **silent} for scores in (START, BEFORE, AFTER)))
    assert list(result.facts["gains"]) == ["armo"]
    assert result.dropped["unscored"] == 3


def test_nothing_to_compare_is_a_failure_that_names_the_scores(tmp_path: Path) -> None:
    with pytest.raises(OnPolicyError, match="after_scores: no held-out prompt has a score"):
        compare(tmp_path, after={"armo": {"t1": [None], "x": [1.0]}})
    assert not list((tmp_path / "out").iterdir())


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    inputs = {"prompts": write_prompts(tmp_path / "prompts", SPLITS)}
    inputs |= {f"{policy}_scores": str(tmp_path / "nowhere") for policy in ("start", "before")}
    with pytest.raises(UserError, match=r"nowhere: holds no part-\*\.parquet"):
        run(CompareConfig(), inputs, tmp_path)


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
    assert mean_rewards(shattered).equals(mean_rewards(table.combine_chunks()))


def test_a_parquet_part_of_the_comparison_explains_itself(tmp_path: Path) -> None:
    compare(tmp_path)
    part = read_part(tmp_path / "out" / "part-00000.parquet")
    assert b"trained policy" in part.schema.field("after").metadata[b"doc"]
    assert STAGE.module == "evaluation.compare"
