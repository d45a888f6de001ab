"""What may stand in one column, and how far a judge agrees with itself."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.judging.answer_files import read_answers, read_outputs, read_question_rows
from evaluation.judging.noise import between_orders, noise
from evaluation.judging.referees.alpaca_eval import AlpacaEvalReferee
from evaluation.judging.referees.arena_hard import ArenaHardReferee
from evaluation.judging.referees.benchmarks import REFEREES
from evaluation.judging.referees.game import Game, Judged, Verdict, judged_questions, unread
from evaluation.judging.referees.mt_bench import MTBenchReferee
from evaluation.judging.referees.referee import Referee
from evaluation.judging.standing import not_comparable
from evaluation.win_rates.mt_bench import CATEGORIES
from evaluation.win_rates.records import texts_sha256

PAPER = AlpacaEvalReferee.published


def judged(key: str, score: float | None, order: str = "alone", repeat: int = 0) -> Judged:
    game = Game(key, order, (), "p", repeat=repeat)  # type: ignore[arg-type]
    return Judged(game, Verdict(score) if score is not None else unread("x"))


@pytest.mark.parametrize("referee", REFEREES.values())
def test_the_same_judge_prompt_questions_answers_and_baseline_compare(
    referee: type[Referee],
) -> None:
    assert not_comparable(referee.published, referee.published) == []


@pytest.mark.parametrize(
    ("referee", "changed", "says"),
    [
        (AlpacaEvalReferee, {"baseline_sha256": "a"}, "another baseline: other answers were"),
        (ArenaHardReferee, {"baseline_sha256": "a"}, "another baseline: other answers were"),
        (AlpacaEvalReferee, {"questions_sha256": "a"}, "other questions"),
        (MTBenchReferee, {"references_sha256": None}, "other reference answers"),
        (AlpacaEvalReferee, {"answered": None}, "the answers' decoding is not known"),
        (AlpacaEvalReferee, {"answered": ["temperature 0.5, top_p 1, max_tokens 64"]},
         "answers by another decoding: temperature 0.5, top_p 1, max_tokens 64, there temp"),
    ],
)  # fmt: skip
def test_a_weak_baseline_of_ones_own_stands_beside_no_published_figure(
    referee: type[Referee], changed: dict[str, Any], says: str
) -> None:
    (reason,) = not_comparable(replace(referee.published, **changed), referee.published)
    assert reason.startswith(says)


def test_of_decodings_by_category_a_limited_run_may_have_some() -> None:
    paper = MTBenchReferee.published
    assert paper.answered and len(paper.answered) == 3
    assert not_comparable(replace(paper, answered=paper.answered[:1]), paper) == []


def test_the_published_texts_are_known_by_their_hashes(shared_data: Path) -> None:
    alpaca, mt_bench = shared_data / "alpaca_eval", shared_data / "mt_bench"
    outputs = read_outputs(alpaca / "model_outputs" / "gpt4_1106_preview.json")
    assert outputs.texts_sha256 == PAPER.baseline_sha256
    asked = [[row["instruction"]] for row in json.loads((alpaca / "prompts_805.json").read_text())]
    assert texts_sha256(asked) == PAPER.questions_sha256
    for folder, referee in (("arena_hard", ArenaHardReferee), ("mt_bench", MTBenchReferee)):
        rows = read_question_rows(shared_data / folder / "question.jsonl")
        assert texts_sha256([row[1] for row in rows]) == referee.published.questions_sha256
    (path,) = (mt_bench / "reference_answer").glob("*SimPO*")
    judged_by = {
        key: answer.turns for key, answer in read_answers(path).by_key.items()
        if CATEGORIES[int(key)] in MTBenchReferee.categories_with_reference
    }  # fmt: skip
    assert texts_sha256(judged_by) == MTBenchReferee.published.references_sha256


def test_each_difference_is_named() -> None:
    other = replace(
        PAPER, judge="gpt-4.1", prompt_sha256="0" * 64, decoding={"temperature": 0.0},
        judged=804, hard_labels=3, baseline_sha256="a",
    )  # fmt: skip
    reasons = not_comparable(other, PAPER)
    assert [reason.partition(":")[0] for reason in reasons] == [
        "another judge",
        "another prompt",
        "another decoding of the judge",
        "hard labels",
        "another baseline",
        "804 prompts judged, there 805",
    ]
    assert reasons[0] == "another judge: gpt-4.1, there gpt-4-1106-preview"


def test_a_question_counts_where_all_its_games_have_a_score() -> None:
    games = [judged("a", 1.0), judged("a", None), judged("b", 1.0), judged("b", None, repeat=1)]
    assert judged_questions(games) == 1


def test_the_judges_noise_is_how_often_the_same_side_wins_again() -> None:
    games = [judged("a", 1.2), judged("b", 1.9), judged("c", 1.5), judged("d", None)]
    scores = {"a": 1.4, "b": 1.3, "c": 1.5, "d": 1.0}
    again = [judged(key, score, repeat=1) for key, score in scores.items()]
    found = noise([*games, *again], middle=1.5)
    assert found and (found.pairs, found.same_side.value) == (3, 2 / 3)
    assert found.difference.value == pytest.approx((0.2 - 0.6 + 0) / 3)


def test_the_games_of_a_question_are_drawn_together_for_the_noise_floor() -> None:
    """Both orders that move alike are one observation, not two."""
    orders = ("baseline_first", "model_first")
    games = [judged(str(key), 0.5, order) for key in range(20) for order in orders]
    moved = {str(key): 0.2 * (-1) ** key for key in range(20)}
    again = [judged(key, 0.5 + by, order, 1) for key, by in moved.items() for order in orders]
    once = [judged(key, 0.5) for key in moved] + [
        judged(key, 0.5 + by, repeat=1) for key, by in moved.items()
    ]
    both, alone = noise([*games, *again], middle=0.5), noise(once, middle=0.5)
    assert both and alone and both.pairs == 2 * alone.pairs
    assert (both.difference.low, both.difference.high) == pytest.approx(
        (alone.difference.low, alone.difference.high)
    )


def test_a_judge_that_takes_the_first_one_agrees_with_itself_in_no_order() -> None:
    games = [judged("a", 0.0, "baseline_first"), judged("a", 1.0, "model_first")]
    found = between_orders(games, middle=0.5)
    assert found and found.same_side.value == 0.0
    assert between_orders([judged("a", 8.0)], None) is None
