"""RewardBench 2's scoring: best of 4 with shared credit, Ties' sum, what has no score."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import reward_bench_files as files

from annotation.config import ScoreConfig
from contracts.errors import UserError
from evaluation.reward_models.cases import Case, read_cases
from evaluation.reward_models.reward_bench import RewardBench, Scores, reward_bench
from evaluation.reward_models.scoring import pinned, score_cases
from evaluation.win_rates.estimate import Resampling

FEW = Resampling(resamples=100)


def four(name: str = "a", subset: str = "Focus", correct: int = 1) -> Case:
    return Case(name, subset, "?", ["w", "x", "y", "z"], correct)


def of(*scored: tuple[Case, Scores]) -> RewardBench:
    return reward_bench([case for case, _ in scored], [scores for _, scores in scored], FEW)


@pytest.mark.parametrize(
    ("scores", "credit"),
    [([2, 1, 1, 1], 100), ([1, 2, 1, 1], 0), ([2, 2, 1, 1], 50), ([1, 1, 1, 1], 25)],
)
def test_ties_for_the_first_place_share_the_credit(scores: list[float], credit: float) -> None:
    found = of((four(), scores)).subsets["Focus"]
    assert found.score and found.score.value == credit


def test_a_case_with_an_answer_without_a_score_is_counted_and_in_no_figure() -> None:
    found = of((four("a"), [2, 1, 0, 0]), (four("b"), [1, None, 3, 0]))
    assert found.subsets["Focus"].score and found.subsets["Focus"].score.value == 100
    assert (found.subsets["Focus"].n, found.subsets["Focus"].unscored) == (1, 1)
    nothing = of((four("a"), [None, 1, 0, 0]), (four("b", "Math"), [2, 1, 0, 0]))
    assert nothing.subsets["Focus"].score is None
    assert nothing.score is None  # a mean over the other subsets would be another benchmark's
    assert nothing.subsets["Math"].score


def test_the_score_is_the_mean_over_subsets_whatever_their_sizes() -> None:
    found = of(
        (four("a"), [2, 1, 0, 0]), (four("b"), [2, 1, 0, 0]), (four("c", "Math"), [0, 1, 0, 0])
    )
    assert found.score and found.score.value == 50


def ties(tied: list[float], ref: list[float]) -> float:
    """Two right answers and a wrong one, beside a like prompt with one of each."""
    cases = [
        (Case("tied:1", "Ties", "?", ["r", "s", "w"], 2), tied),
        (Case("ref:1", "Ties", "?", ["r", "w"], 1), ref),
    ]
    found = of(*cases).subsets["Ties"].score
    assert found
    return found.value


def test_ties_by_hand_as_the_official_sum_has_them() -> None:
    # accurate twice; spread 0.5; gaps 1.0 and 0.75: both above the spread
    margin = math.tanh(0.75 / 0.5 - 1)
    assert ties([2.5, 2.0, 1.0], [1.75, 1.0]) == pytest.approx(100 * (1.0 + 0.01 * margin))
    # the like prompt's gap is below the spread: the hard part is lost
    margin = math.tanh(0.25 / 0.5 - 1)
    assert ties([2.5, 2.0, 1.0], [1.25, 1.0]) == pytest.approx(100 * (0.8 + 0.01 * margin))
    # one right answer below the wrong one, and the like prompt wrong, too
    margin = math.tanh(-1.0 / 2.0 - 1)
    assert ties([2.0, 0.0, 1.0], [0.5, 1.0]) == pytest.approx(margin)


def test_right_answers_that_score_the_same_have_the_whole_margin() -> None:
    assert ties([2.0, 2.0, 1.0], [2.0, 1.0]) == pytest.approx(101)
    assert ties([1.0, 1.0, 1.0], [1.0, 1.0]) == 0  # no gap over no spread is none


def test_ties_without_the_like_prompts_have_no_score() -> None:
    found = of((Case("tied:1", "Ties", "?", ["r", "s", "w"], 2), [2.0, 1.5, 1.0]))
    assert found.subsets["Ties"].score is None


def test_any_annotator_of_a_run_is_scored_by_the_runs_own_stage(
    run_folder: Path, tmp_path: Path
) -> None:
    annotators = [
        {"kind": "function", "name": name, "function": f"annotation_rewards:{name}"}
        for name in ("length", "vowels")
    ]
    config = ScoreConfig.model_validate({"annotators": annotators})
    questions = str(files.write(tmp_path / "questions.jsonl"))
    cases, scores = score_cases(config, questions, tmp_path / "out")
    assert scores["length"][0] == [18, 5, 2, 1]
    found = reward_bench(cases, scores["length"], FEW)
    values = {name: subset.score.value for name, subset in found.subsets.items() if subset.score}
    assert values["Focus"] == 50
    assert values["Math"] == 50  # two answers of one length share the credit
    assert values["Ties"] > 100
    again = score_cases(config, questions, tmp_path / "out")
    assert again == (cases, scores)


def test_names_on_the_hub_stay_the_commits_that_they_were_when_scoring_began(
    tmp_path: Path,
) -> None:
    commits = {"owner/reward": "a" * 40, "datasets/owner/cases": "b" * 40}
    (tmp_path / "commits.json").write_text(json.dumps(commits))
    annotator = {"kind": "classifier", "name": "class", "path": "owner/reward"}
    config = ScoreConfig.model_validate({"annotators": [annotator]})
    assert pinned(config, "owner/cases", tmp_path) == (
        f"owner/cases@{'b' * 40}", {"class": f"owner/reward@{'a' * 40}"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen": []}, "2: `chosen` is to be a list of at least one answer"),
        ({"rejected": "no"}, "2: `rejected` is to be a list"),
        ({"subset": None}, "2: `subset` is to be a text, it is None"),
        ({"num_correct": 2}, "2: `num_correct` is 2, `chosen` holds 1 answers"),
        ({"id": "1"}, "2: id '1' of Focus stands there twice"),
        ({"subset": "Ties"}, "2: `id` is '2'; in Ties it is 'tied:N' or 'ref:N'"),
    ],
)
def test_a_row_of_another_shape_is_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    records = files.rows()
    records[1] |= change
    with pytest.raises(UserError, match=rf"questions\.jsonl:{message}"):
        read_cases(str(files.write(tmp_path / "questions.jsonl", records)))
