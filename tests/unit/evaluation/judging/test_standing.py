"""What may stand in one column, and how far a judge agrees with itself."""

from dataclasses import replace

import pytest

from evaluation.judging.noise import between_orders, noise
from evaluation.judging.referees.alpaca_eval import AlpacaEvalReferee
from evaluation.judging.referees.game import Game, Judged, Verdict, judged_questions, unread
from evaluation.judging.standing import not_comparable

PAPER = AlpacaEvalReferee.published


def judged(key: str, score: float | None, order: str = "alone", repeat: int = 0) -> Judged:
    game = Game(key, order, (), "p", repeat=repeat)  # type: ignore[arg-type]
    return Judged(game, Verdict(score) if score is not None else unread("x"))


def test_the_same_judge_prompt_and_number_of_prompts_compare() -> None:
    assert not_comparable(PAPER, PAPER) == []
    assert not_comparable(replace(PAPER, baseline_sha256="a"), PAPER) == []


def test_each_difference_is_named() -> None:
    other = replace(
        PAPER, judge="gpt-4.1", prompt_sha256="0" * 64, decoding={"temperature": 0.0},
        judged=804, hard_labels=3, baseline_sha256="a",
    )  # fmt: skip
    reasons = not_comparable(other, replace(PAPER, baseline_sha256="b"))
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
