"""From the losses of a learning-rate range test to a rate. Pure.

The test (Smith 2017, arXiv 1506.01186, section 3.3) trains with a growing rate and looks at where
the loss begins to fall and where it stops. Two rules are common (fastai's lr_find has both): the
rate at which the loss falls fastest, and a tenth of the rate at which it is lowest. The smaller
one is taken here, since a preference loss goes on falling while a policy collapses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

# A window of a tenth of the steps to either side; a fall of 2 %, or of twice the noise, is one.
_SMOOTHED_SHARE = 10
_LEAST_FALL = 0.02


@dataclass(frozen=True)
class Suggestion:
    """A rate, or none where the losses show none, and why."""

    rate: float | None
    steepest: float | None = None
    """The rate at which the smoothed loss falls fastest."""
    lowest: float | None = None
    """The rate at which it is lowest."""
    diverges: float | None = None
    """The first rate after that at which it is above its start."""
    reasons: list[str] = field(default_factory=list)


def smooth(losses: Sequence[float]) -> np.ndarray:
    """[steps] float64 means over a window around each step, its middle weighing most.

    Centred, so that a fall is not shown at a later, higher rate than the one that caused it.
    """
    half = max(1, len(losses) // _SMOOTHED_SHARE)
    weights = half + 1.0 - np.abs(np.arange(-half, half + 1))
    # Padded, since numpy's `same` gives the longer of the two.
    padded = np.pad(np.asarray(losses, float), half)
    inside = np.pad(np.ones(len(losses)), half)
    return np.convolve(padded, weights, "valid") / np.convolve(inside, weights, "valid")


def suggest(
    rates: Sequence[float],
    losses: Sequence[float],
    bounds: tuple[float, float] | None = None,
    ended_early: bool = False,
) -> Suggestion:
    """The rate to train with.

    Args:
        rates: one a step, growing by a constant factor.
        losses: the loss at each, before the step.
        bounds: rates that are known to be good for such a model; a suggestion is moved into them.
        ended_early: the loss had left for good before the last rate.
    """
    if len(rates) < 3:
        reason = f"the loss was not finite after {len(rates)} steps: lower --from"
        return Suggestion(None, reasons=[reason])
    smoothed = smooth(losses)
    bottom = int(smoothed.argmin())
    noise = _noise(losses)
    fall = float(smoothed[0] - smoothed[bottom])
    if fall <= max(_LEAST_FALL * abs(float(smoothed[0])), 2 * noise):
        rises = ended_early or smoothed[-1] > smoothed[0] + 2 * noise
        return Suggestion(None, reasons=[_no_fall(rates, rises, fall, noise)])
    slopes = np.gradient(smoothed, np.log(rates))
    steepest = float(rates[int(slopes[: bottom + 1].argmin())])
    lowest = float(rates[bottom])
    above = np.flatnonzero(smoothed[bottom:] > smoothed[0])
    diverges = float(rates[bottom + int(above[0])]) if len(above) else None
    rate, reasons = _choose(steepest, lowest, still_falling=bottom >= len(rates) - 2)
    if bounds:
        rate, moved = _moved_into(bounds, rate)
        reasons += moved
    return Suggestion(_rounded(rate), steepest, lowest, diverges, reasons)


def _noise(losses: Sequence[float]) -> float:
    """Standard deviation around the trend, by medians: a loss that leaves is no noise."""
    steps = np.abs(np.diff(losses))
    # Of a normal distribution the median distance from its middle is 0.6745 deviations, and a
    # difference of two steps has the square root of 2 times the deviation of one.
    return float(np.median(steps) / (0.6745 * np.sqrt(2)))


def _choose(steepest: float, lowest: float, still_falling: bool) -> tuple[float, list[str]]:
    rate = min(steepest, lowest / 10)
    which = "where the loss falls fastest" if rate == steepest else "a tenth of the lowest loss's"
    reasons = [f"{rate:.1e} is {which} (the smaller of the two rules)"]
    if still_falling:
        reasons.append("the loss still fell at the highest rate: raise --to to see where it stops")
    return rate, reasons


def _moved_into(bounds: tuple[float, float], rate: float) -> tuple[float, list[str]]:
    low, high = bounds
    if low <= rate <= high:
        return rate, []
    return min(max(rate, low), high), [
        f"moved from {rate:.1e} into {low:g} to {high:g}, where the published settings of such a "
        "model lie: a few dozen steps do not show a collapse into repetition, which comes with "
        "a falling loss"
    ]


def _no_fall(rates: Sequence[float], rises: bool, fall: float, noise: float) -> str:
    if rises:
        return f"the loss only rises from {rates[0]:.1e} on: lower --from"
    return (
        f"the loss falls by {fall:.2g}, too little beside its noise of {noise:.2g}: raise --to, "
        "or take more --steps"
    )


def _rounded(rate: float) -> float:
    """Two digits; more would claim what such a test cannot know."""
    return float(f"{rate:.1e}")
