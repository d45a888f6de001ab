"""Judgements by prompt: the one form in which every judged benchmark's mean is taken."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.win_rates.estimate import Estimate, Resampling, ratio, refitted


@dataclass(frozen=True)
class PromptScores:
    """What was judged of each prompt, in the figure's unit: per cent, or MT-Bench's rating."""

    keys: list[str]
    total: np.ndarray
    """[prompts] float64, the weighted sum of its judgements."""
    weight: np.ndarray
    """[prompts] float64, above 0."""

    def __len__(self) -> int:
        return len(self.keys)

    def estimate(self, resampling: Resampling) -> Estimate:
        """The mean with its interval; at least one prompt."""
        return ratio(self.total, self.weight, resampling)

    def only(self, keys: Collection[str]) -> "PromptScores":
        """The scores of these prompts only, in their own order."""
        rows = [row for row, key in enumerate(self.keys) if key in keys]
        return PromptScores([self.keys[row] for row in rows], self.total[rows], self.weight[rows])

    def gain(self, before: "PromptScores", resampling: Resampling) -> Estimate | None:
        """This mean less that of `before`, over the prompts that both have, drawn together."""
        both = set(self.keys) & set(before.keys)
        if not both:
            return None
        new, old = self.only(both), before.only(both)
        place = {key: row for row, key in enumerate(old.keys)}
        order = [place[key] for key in new.keys]

        def difference(counts: np.ndarray) -> float:
            means = [
                counts @ total / (counts @ weight)
                for total, weight in (
                    (new.total, new.weight),
                    (old.total[order], old.weight[order]),
                )
            ]
            return float(means[0] - means[1])

        value = difference(np.ones(len(both)))
        return refitted(difference, len(both), value, resampling)


def prompt_scores(rows: Sequence[Mapping[str, Any]], needs_all: bool) -> PromptScores:
    """Scores by prompt, from rows with `question_id`, `points` (None: no score) and `weight`.

    Args:
        needs_all: whether a prompt of which one judgement has no score is left out whole, as a
            game in one order alone would favour a side.
    """
    failed = {row["question_id"] for row in rows if row["points"] is None} if needs_all else set()
    total: dict[str, float] = {}
    weight: dict[str, float] = {}
    for row in rows:
        key = row["question_id"]
        if row["points"] is None or key in failed:
            continue
        total[key] = total.get(key, 0.0) + row["weight"] * row["points"]
        weight[key] = weight.get(key, 0.0) + row["weight"]
    return PromptScores(list(total), np.array([*total.values()]), np.array([*weight.values()]))
