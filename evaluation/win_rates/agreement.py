"""How far a judge agrees: with itself in the other order, and with itself a second time."""

from dataclasses import dataclass

import numpy as np

from evaluation.win_rates.estimate import Estimate, Resampling, mean


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
    first: np.ndarray, second: np.ndarray, middle: float | None, resampling: Resampling
) -> Agreement:
    """Agreement of both judgements.

    Args:
        first, second: [pairs] scores, seen from the model.
        middle: the score at which neither side wins; None where answers are rated alone.

    Raises:
        ValueError: no pair, or unequal lengths.
    """
    if first.shape != second.shape or not len(first):
        raise ValueError("agreement needs two equally long lists of at least one pair")
    sides = [one if middle is None else np.sign(one - middle) for one in (first, second)]
    return Agreement(
        len(first),
        mean((sides[0] == sides[1]).astype(float), resampling),
        mean((second - first).astype(float), resampling),
        _spearman(first, second),
    )


def _spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)
