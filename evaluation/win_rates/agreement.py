"""How far a judge agrees: with itself in the other order, and with itself a second time."""

from dataclasses import dataclass

import numpy as np

from evaluation.win_rates.estimate import Estimate, Resampling, mean


@dataclass(frozen=True)
class Agreement:
    """Of two verdicts on each prompt."""

    share: Estimate
    """Share of prompts on which they name the same side, 0 to 1."""
    settled: np.ndarray
    """[prompts]: 1 the model, -1 the baseline, 0 a tie, and a tie wherever the two disagree."""


@dataclass(frozen=True)
class NoiseFloor:
    """What the same judge says of the same prompts twice: no smaller difference means anything."""

    prompts: int
    same_verdict: Estimate
    """Share of prompts with the same side, 0 to 1."""
    spearman: float | None
    """Rank correlation of the preferences; None where one of the two is constant."""
    win_rate_difference: Estimate
    """Second win rate less the first, points of 100."""


def agreement(first: np.ndarray, second: np.ndarray, resampling: Resampling) -> Agreement:
    """Agreement of both orders of a game.

    Args:
        first, second: [prompts] sides seen from the model: 1, 0 or -1.

    Raises:
        ValueError: no prompt, or unequal lengths.
    """
    if first.shape != second.shape or not len(first):
        raise ValueError("agreement needs two equally long lists of at least one prompt")
    same = first == second
    return Agreement(mean(same.astype(float), resampling), np.where(same, first, 0))


def noise_floor(first: np.ndarray, second: np.ndarray, resampling: Resampling) -> NoiseFloor:
    """A judge's own noise, of prompts that it judged twice.

    Args:
        first, second: [prompts] preferences, 0 the baseline's answer to 1 the model's.

    Raises:
        ValueError: no prompt, or unequal lengths.
    """
    sides = [np.sign(preference - 0.5) for preference in (first, second)]
    same = agreement(sides[0], sides[1], resampling)
    return NoiseFloor(
        len(first),
        same.share,
        _spearman(first, second),
        mean(100 * (second - first), resampling),
    )


def _spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)
