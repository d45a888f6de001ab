"""How far a judge agrees with itself: across the two orders, and the same game judged twice."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.judging.referees.game import Judged
from evaluation.win_rates.agreement import Agreement, agreement
from evaluation.win_rates.estimate import Resampling


def noise(judged: Sequence[Judged], middle: float | None) -> Agreement | None:
    """The same games judged twice; None where none has a score both times.

    Args:
        middle: the score at which neither side wins; None where answers are rated alone.
    """
    first = {_place(one): one.verdict.score for one in judged if not one.game.repeat}
    again = [one for one in judged if one.game.repeat]
    pairs = [(one.game.question_id, first.get(_place(one)), one.verdict.score) for one in again]
    return _agreement(pairs, middle)


def between_orders(judged: Sequence[Judged], middle: float | None) -> Agreement | None:
    """The same two answers in both orders; None where none has a score in both."""
    scores: dict[str, list[float | None]] = {}
    for one in judged:
        if not one.game.repeat and one.game.order != "alone":
            scores.setdefault(one.game.question_id, []).append(one.verdict.score)
    pairs = [(key, pair[0], pair[1]) for key, pair in scores.items() if len(pair) == 2]
    return _agreement(pairs, middle)


def _place(one: Judged) -> tuple[Any, ...]:
    return (one.game.question_id, one.game.turn, one.game.order)


def _agreement(
    pairs: Sequence[tuple[str, float | None, float | None]], middle: float | None
) -> Agreement | None:
    """
    Args:
        pairs: question, and both scores; those of a question are drawn together.
    """
    scored = [(key, a, b) for key, a, b in pairs if a is not None and b is not None]
    if not scored:
        return None
    keys, *scores = zip(*scored, strict=True)
    first, second = np.array(scores, float)
    return agreement(first, second, middle, Resampling(), keys)
