"""A paired bootstrap: how sure a mean difference is. Pure numpy."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

_BLOCK = 256

Verdict = Literal["better", "worse", "unclear"]


@dataclass(frozen=True)
class Gain:
    """A mean difference with its interval; the reward's own unit."""

    mean: float
    low: float
    high: float
    confidence: float
    prompts: int
    worst: float
    """Lower end of the interval if every answer without a score counts against the new policy:
    the new policy's as the lowest score seen, the old one's as the highest."""
    best: float
    """Upper end of the interval if it counts for the new policy."""

    @property
    def verdict(self) -> Verdict:
        """Better or worse only where no score that an answer lacks could change it."""
        if min(self.low, self.worst) > 0:
            return "better"
        return "worse" if max(self.high, self.best) < 0 else "unclear"


@dataclass(frozen=True)
class Rewards:
    """A policy's mean reward of its answers to each prompt, in one order for all policies."""

    mean: np.ndarray
    """[prompts] float64; NaN where an answer has no score."""
    low: np.ndarray
    """[prompts], the mean with the lowest score in place of each missing one."""
    high: np.ndarray
    """[prompts], the mean with the highest."""


def paired_gain(
    before: np.ndarray, after: np.ndarray, resamples: int, confidence: float, seed: int
) -> Gain:
    """Percentile bootstrap of `mean(after - before)` over prompts (Efron 1979).

    Args:
        before: [prompts] float64, mean reward of the old policy's answers.
        after: [prompts] float64, the new policy's, in the same order.

    Raises:
        ValueError: no prompt, or unequal lengths.
    """
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise ValueError("a paired bootstrap needs two equally long lists of at least one prompt")
    difference = after - before
    generator = np.random.default_rng(seed)
    # Blocks of resamples: 10,000 x 805 indices at once would take 64 MB for nothing.
    means = np.concatenate(
        [
            difference[generator.integers(len(difference), size=(size, len(difference)))].mean(1)
            for size in _blocks(resamples)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = map(float, np.quantile(means, [tail, 1 - tail]))
    mean = float(difference.mean())
    return Gain(mean, low, high, confidence, len(difference), worst=low, best=high)


def bounded_gain(
    before: Rewards, after: Rewards, resamples: int, confidence: float, seed: int
) -> Gain:
    """`paired_gain` over the prompts of which every answer has a score, bounded over all prompts.

    The bounds are those of Horowitz and Manski (2000): without a word on why scores are missing,
    nothing narrower holds. `worst` and `best` are ends of bootstrap intervals themselves.

    Raises:
        ValueError: no prompt has all its scores.
    """
    whole = ~np.isnan(before.mean + after.mean)
    found = paired_gain(before.mean[whole], after.mean[whole], resamples, confidence, seed)
    if whole.all():
        return found
    worst = paired_gain(before.high, after.low, resamples, confidence, seed)
    best = paired_gain(before.low, after.high, resamples, confidence, seed)
    return replace(found, worst=worst.low, best=best.high)


def _blocks(total: int) -> list[int]:
    return [_BLOCK] * (total // _BLOCK) + ([total % _BLOCK] if total % _BLOCK else [])
