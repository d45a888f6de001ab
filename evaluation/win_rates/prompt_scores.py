"""Judgements by prompt: the one form in which every judged benchmark's mean is taken."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from evaluation.win_rates.estimate import Estimate, Resampling, ratio, refitted

_Game = tuple[str, int, str]
"""Question, turn and order: the same game of two policies is judged by the same words."""


@dataclass(frozen=True)
class PromptScores:
    """What was judged, in the figure's unit: per cent, or MT-Bench's rating."""

    games: list[_Game]
    points: np.ndarray
    """[games] float64."""
    weight: np.ndarray
    """[games] float64, above 0."""

    def __len__(self) -> int:
        """Prompts, not games."""
        return len(self.keys)

    @cached_property
    def keys(self) -> list[str]:
        """The prompts' names, in the order of their first games."""
        return list(dict.fromkeys(question for question, *_ in self.games))

    def estimate(self, resampling: Resampling) -> Estimate:
        """The mean with its interval over prompts, of which at least one is there."""
        return ratio(*self._sums(self.keys), resampling)

    def only(self, keys: Collection[str]) -> "PromptScores":
        """The scores of these prompts only, in their own order."""
        return self._rows([row for row, (key, *_) in enumerate(self.games) if key in keys])

    def shared(self, before: "PromptScores") -> tuple["PromptScores", "PromptScores"]:
        """Both, of the games that both have: of a prompt with one turn unread, the other turn.

        With the one's turns as they are against the other's, a harder turn that is missing is a
        gain: equal ratings of 8.5 and 6.5, with 12 of 80 second turns unread, gained 0.08.
        """
        both = set(self.games) & set(before.games)
        new, old = (
            side._rows([row for row, game in enumerate(side.games) if game in both])
            for side in (self, before)
        )
        return new, old

    def gain(self, before: "PromptScores", resampling: Resampling) -> Estimate | None:
        """This mean less that of `before` over the games that both have, prompts drawn whole."""
        new, old = self.shared(before)
        if not len(new):
            return None
        sides = [side._sums(new.keys) for side in (new, old)]

        def difference(counts: np.ndarray) -> float:
            means = [counts @ total / (counts @ weight) for total, weight in sides]
            return float(means[0] - means[1])

        return refitted(difference, len(new), difference(np.ones(len(new))), resampling)

    def _rows(self, rows: Sequence[int]) -> "PromptScores":
        return PromptScores([self.games[row] for row in rows], self.points[rows], self.weight[rows])

    def _sums(self, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """[prompts] of weighted points, and of weights."""
        place = {key: row for row, key in enumerate(keys)}
        rows = [place[key] for key, *_ in self.games]
        total = np.bincount(rows, weights=self.weight * self.points, minlength=len(keys))
        return total, np.bincount(rows, weights=self.weight, minlength=len(keys))


@dataclass(frozen=True)
class GainBounds:
    """Ends of a gain's interval over all that was asked, whatever the missing judgements are.

    As Horowitz and Manski (2000) bound a mean with values missing: points have a lowest and a
    highest.
    """

    at_lowest: float
    """Lower end, were each missing one of the new policy the lowest, of the old one the highest."""
    at_highest: float
    """Upper end, the other way round."""


def prompt_scores(rows: Sequence[Mapping[str, Any]], needs_all: bool) -> PromptScores:
    """Scores by prompt, from rows with `question_id`, `turn`, `order`, `weight` and `points`
    (None: no score).

    Args:
        needs_all: whether a prompt of which one judgement has no score is left out whole, as a
            game in one order alone would favour a side.
    """
    failed = {row["question_id"] for row in rows if row["points"] is None} if needs_all else set()
    return _of([r for r in rows if r["points"] is not None and r["question_id"] not in failed])


def gain_bounds(
    after: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]],
    points: tuple[float, float], most_weight: int, resampling: Resampling,
) -> GainBounds | None:  # fmt: skip
    """Ends of the gain with each missing judgement at one end; None where none is missing.

    Args:
        after, before: rows as in `prompt_scores`.
        points: the lowest and the highest that a judgement can give.
        most_weight: what a missing one may weigh.
    """
    if not any(row["points"] is None for rows in (after, before) for row in rows):
        return None

    def end(new: float, old: float) -> Estimate | None:
        sides = (_filled(after, new, most_weight), _filled(before, old, most_weight))
        return sides[0].gain(sides[1], resampling)

    lowest, highest = end(*points), end(*reversed(points))
    return GainBounds(lowest.low, highest.high) if lowest and highest else None


def _filled(rows: Sequence[Mapping[str, Any]], points: float, weight: int) -> PromptScores:
    return _of(
        [row if row["points"] is not None else {**row, "points": points, "weight": weight}
         for row in rows]
    )  # fmt: skip


def _of(rows: Sequence[Mapping[str, Any]]) -> PromptScores:
    return PromptScores(
        [(row["question_id"], row["turn"], row["order"]) for row in rows],
        np.array([row["points"] for row in rows], float),
        np.array([row["weight"] for row in rows], float),
    )
