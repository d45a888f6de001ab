"""A paired bootstrap: how sure a mean difference is."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from evaluation.win_rates.estimate import FEWEST, tail

# Resamples at a time: 256 draws of 1,000 prompts are 2 MB, 10,000 would be 80.
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
    at_lowest: float
    """Lower end of the interval if each answer without a score had, of the new policy's the lowest
    score seen, of the old one's the highest. No bound: what broke may deserve less than any."""
    at_highest: float
    """Upper end of the interval if it is the other way round."""
    alike_unscored: bool = True
    """Whether as many answers of the one policy as of the other are without a score."""

    @property
    def verdict(self) -> Verdict:
        """Better or worse only where ten prompts or more say so."""
        return self.side if self.prompts >= FEWEST else "unclear"

    @property
    def side(self) -> Verdict:
        """Better or worse only where neither the share of answers without a score tells the
        policies apart, nor any score seen so far in their place could change it."""
        if not self.alike_unscored:
            return "unclear"
        if min(self.low, self.at_lowest) > 0:
            return "better"
        return "worse" if max(self.high, self.at_highest) < 0 else "unclear"


@dataclass(frozen=True)
class Rewards:
    """A policy's mean reward of its answers to each prompt, in one order for all policies."""

    mean: np.ndarray
    """[prompts] float64; NaN where an answer has no score."""
    low: np.ndarray
    """[prompts], the mean with the lowest score in place of each missing one."""
    high: np.ndarray
    """[prompts], the mean with the highest."""
    unscored: int
    """Answers without a score."""


def paired_gain(
    before: np.ndarray, after: np.ndarray, resamples: int, confidence: float, seed: int
) -> Gain:
    """Percentile bootstrap of `mean(after - before)` over prompts (Efron 1979, and `tail`).

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
    outside = tail(confidence, len(difference))
    low, high = map(float, np.quantile(means, [outside, 1 - outside]))
    mean = float(difference.mean())
    return Gain(mean, low, high, confidence, len(difference), at_lowest=low, at_highest=high)


def bounded_gain(
    before: Rewards, after: Rewards, resamples: int, confidence: float, seed: int
) -> Gain:
    """`paired_gain` over the prompts of which every answer has a score, and its ends over all.

    As Horowitz and Manski (2000) bound a mean with values missing, but of a reward no lowest and
    highest is known: the lowest and highest seen stand in for them.

    Raises:
        ValueError: no prompt has all its scores.
    """
    has_all_scores = ~np.isnan(before.mean + after.mean)
    gain = paired_gain(
        before.mean[has_all_scores], after.mean[has_all_scores], resamples, confidence, seed
    )
    if has_all_scores.all():
        return gain
    lowest = paired_gain(before.high, after.low, resamples, confidence, seed)
    highest = paired_gain(before.low, after.high, resamples, confidence, seed)
    alike = before.unscored == after.unscored
    return replace(gain, at_lowest=lowest.low, at_highest=highest.high, alike_unscored=alike)


def _blocks(total: int) -> list[int]:
    return [_BLOCK] * (total // _BLOCK) + ([total % _BLOCK] if total % _BLOCK else [])
