"""How far a judge agrees with itself: across the two orders, and the same game judged twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.judging.game import Judged


@dataclass(frozen=True)
class Agreement:
    """Of pairs of judgements that should say the same."""

    pairs: int
    """With a score on both sides."""
    agree: float | None
    """Share of them in which the same side wins, or in MT-Bench the rating is the same."""
    mean_difference: float | None
    """Mean of the absolute differences of their scores."""


def noise(judged: Sequence[Judged], middle: float | None) -> Agreement:
    """The same games judged twice.

    Args:
        middle: the score at which neither side wins; None where answers are rated alone.
    """
    first = {_place(one): one.verdict.score for one in judged if not one.game.repeat}
    again = [one for one in judged if one.game.repeat]
    return _agreement([(first.get(_place(one)), one.verdict.score) for one in again], middle)


def between_orders(judged: Sequence[Judged], middle: float | None) -> Agreement:
    """The same two answers in both orders."""
    scores: dict[str, list[float | None]] = {}
    for one in judged:
        if not one.game.repeat and one.game.order != "alone":
            scores.setdefault(one.game.question_id, []).append(one.verdict.score)
    return _agreement([(pair[0], pair[1]) for pair in scores.values() if len(pair) == 2], middle)


def _place(one: Judged) -> tuple[Any, ...]:
    return (one.game.question_id, one.game.turn, one.game.order)


def _agreement(
    pairs: Sequence[tuple[float | None, float | None]], middle: float | None
) -> Agreement:
    whole = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not whole:
        return Agreement(0, None, None)
    same = sum(_side(a, middle) == _side(b, middle) for a, b in whole)
    difference = sum(abs(a - b) for a, b in whole)
    return Agreement(len(whole), same / len(whole), difference / len(whole))


def _side(score: float, middle: float | None) -> float:
    """Which side wins: 1, 0 or -1; the score itself where there are no sides."""
    return score if middle is None else float((score > middle) - (score < middle))
