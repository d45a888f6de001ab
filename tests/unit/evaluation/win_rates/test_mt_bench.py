"""MT-Bench's means from FastChat's own judgement files."""

import json
from pathlib import Path

import pytest

from contracts.errors import UserError
from evaluation.win_rates.estimate import Resampling
from evaluation.win_rates.mt_bench import CATEGORIES, Judgement, mt_bench_scores, read_judgements

FEW = Resampling(resamples=200)


def write(path: Path, *scores: tuple[int, int, float]) -> Path:
    keys = ("question_id", "turn", "score")
    path.write_text("".join(json.dumps(dict(zip(keys, s, strict=True))) + "\n" for s in scores))
    return path


def test_means_by_turn_and_category_leave_unread_scores_out_and_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", (81, 1, 9), (81, 2, 7), (111, 1, 4), (111, 2, -1))
    found = mt_bench_scores(read_judgements(path), CATEGORIES, FEW)
    assert found.overall.value == pytest.approx(20 / 3)
    assert {turn: mean.value for turn, mean in found.turns.items()} == {1: 6.5, 2: 7}
    assert {name: mean.value for name, mean in found.categories.items()} == {
        "writing": 8,
        "math": 4,
    }
    assert (found.n, found.asked) == (3, 160)
    assert found.overall.low >= 4 and found.overall.high <= 8


def test_the_categories_are_those_of_the_questions(shared_data: Path) -> None:
    lines = (shared_data / "mt_bench" / "question.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["question_id"]: row["category"] for row in rows} == CATEGORIES


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((82, 1, 11), "row 2: `score` is 11; it goes from 1 to 10"),
        ((81, 1, 5), "row 2: turn 1 of question 81 was judged before"),
    ],
)
def test_a_row_that_cannot_count_is_named(
    tmp_path: Path, row: tuple[int, int, float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_judgements(write(tmp_path / "a.jsonl", (81, 1, 9), row))


def test_a_file_of_several_models_is_refused(tmp_path: Path) -> None:
    rows = [{"question_id": 81, "turn": 1, "score": 9, "model": model} for model in ("a", "b")]
    (tmp_path / "all.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match="row 2: `model` is 'b', in row 1 'a': scores are of one"):
        read_judgements(tmp_path / "all.json")


def test_foreign_questions_and_no_score_at_all_are_told() -> None:
    with pytest.raises(UserError, match="question 7 is none of its 80"):
        mt_bench_scores([Judgement(7, 1, 5.0)], CATEGORIES, FEW)
    with pytest.raises(UserError, match="not one judgement has a score"):
        mt_bench_scores([Judgement(81, 1, None)], CATEGORIES, FEW)
