"""How far a judge agrees: with itself in the other order, and with itself a second time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.win_rates.estimate import Estimate, Resampling, ratio


@dataclass(frozen=True)
class Agreement:
    """How far two judgements of each game agree that should say the same. For games judged twice
    it is the judge's noise floor: no smaller difference means anything."""

    pairs: int
    """With a score on both sides."""
    same_side: Estimate
    """Share of them in which the same side wins, or in MT-Bench the rating is the same, 0 to 1."""
    difference: Estimate
    """Mean of the second score less the first, in the scores' own unit."""
    spearman: float | None
    """Rank correlation of the scores; None where one of the two is constant."""


def agreement(
    first: np.ndarray, second: np.ndarray, middle: float | None, resampling: Resampling,
    prompts: Sequence[str] | None = None,
) -> Agreement:  # fmt: skip
    """Agreement of both judgements.

    Args:
        first, second: [pairs] scores, seen from the model.
        middle: the score at which neither side wins; None where answers are rated alone.
        prompts: [pairs] whose each one is, so that the pairs of a prompt are drawn together: as if
            none shared one, an interval held the truth in 79 % where 95 were meant. None is a
            prompt a pair.

    Raises:
        ValueError: no pair, or unequal lengths.
    """
    if first.shape != second.shape or not len(first):
        raise ValueError("agreement needs two equally long lists of at least one pair")
    sides = [one if middle is None else np.sign(one - middle) for one in (first, second)]
    _, rows = np.unique(np.arange(len(first)) if prompts is None else prompts, return_inverse=True)
    pairs = np.bincount(rows).astype(float)

    def mean(values: np.ndarray) -> Estimate:
        return ratio(np.bincount(rows, weights=values), pairs, resampling)

    return Agreement(
        len(first),
        mean((sides[0] == sides[1]).astype(float)),
        mean((second - first).astype(float)),
        _spearman(first, second),
    )


def _spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)
