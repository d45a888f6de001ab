"""A win rate at equal style: a logistic fit on the differences of style, read where there is none.

Without a penalty on the constant, as lmarena/arena-hard-auto fits it (`utils/math_utils.py`): a
ridge there, and a style that hardly varied took its place, at rates of 50 or 100 %.
"""

from dataclasses import dataclass

import numpy as np

from evaluation.win_rates.estimate import Estimate, Resampling, drawn, tail, times

NAMES = ("length", "headers", "lists", "bold")
"""Of the columns of a difference of style."""
_RIDGE, _TOLERANCE, _MOST_STEPS, _MOST_HALVINGS = 1e-6, 1e-8, 100, 30
_UNSURE = 5.0
"""Standard error in logits beyond which the rate could be anything: 5 span 0.7 to 99.3 %."""


@dataclass(frozen=True)
class EqualStyle:
    """The figure, or why there is none."""

    estimate: Estimate | None = None
    """Per cent."""
    missing: str | None = None


def at_equal_style(
    differences: np.ndarray, won: np.ndarray, lost: np.ndarray, resampling: Resampling
) -> EqualStyle:
    """What the fit predicts where no style differs; no figure where the prompts don't tell it.

    A resample that tells it not could be anything: it counts as 0 at the interval's low end and as
    100 at its high end.

    Args:
        differences: [prompts, 4] float64, not centred: centred on the model's own mean, as the
            official script does over all models at once, a single model's figure would be
            controlled for nothing.
        won: [prompts] float64, weight of the games won.
        lost: [prompts] float64.
    """
    if outside := _outside(differences):
        return EqualStyle(missing=f"equal {' and '.join(outside)} was not observed")

    def rate(counts: np.ndarray) -> float:
        seen = counts > 0
        if _outside(differences[seen]):
            return np.nan
        return predicted(scaled(differences, counts)[seen], *((counts * of)[seen] for of in sides))

    sides = (won, lost)
    value = rate(np.ones(len(won)))
    if np.isnan(value):
        return EqualStyle(missing="style tells won games from lost ones almost without fault")
    draws = drawn(rate, len(won), resampling)
    left_out = tail(resampling.confidence, len(won))
    if np.isnan(draws).mean() >= left_out:
        return EqualStyle(missing="too few prompts tell what holds at equal style")
    low = np.quantile(np.nan_to_num(draws, nan=0.0), left_out)
    high = np.quantile(np.nan_to_num(draws, nan=1.0), 1 - left_out)
    return EqualStyle(times(100, Estimate(value, float(low), float(high))))


def scaled(differences: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[prompts, features] each by its deviation over the prompts so often.

    One that is the same for all prompts tells nothing of them and is left at zero: by the deviation
    that rounding gives it (1e-17), it took the place of the constant.
    """
    mean = np.average(differences, axis=0, weights=counts)
    deviation = np.sqrt(np.average((differences - mean) ** 2, axis=0, weights=counts))
    varies = deviation > _TOLERANCE
    result: np.ndarray = np.where(varies, differences / np.where(varies, deviation, 1), 0)
    return result


def predicted(features: np.ndarray, won: np.ndarray, lost: np.ndarray) -> float:
    """Probability of a win where all features are 0; NaN where no fit has an end.

    Newton's method: scikit-learn's fit gives the same figure (to 1e-6) in 40 ms, this in about 1,
    and there are 1,000. A step is halved where the likelihood falls. Where a style that few
    prompts have always wins, its weight has no end; the ridge gives it one.

    Args:
        features: [prompts, features] float64.
        won: [prompts] float64, weight of the games won.
        lost: [prompts] float64.
    """
    if not won.any() or not lost.any():
        return float(won.any())
    columns = np.column_stack([np.ones(len(features)), features])
    weights, ridge = np.zeros(columns.shape[1]), np.full(columns.shape[1], _RIDGE)
    ridge[0] = 0.0
    for _ in range(_MOST_STEPS):
        chance = _chance(columns @ weights)
        gradient = columns.T @ (won - (won + lost) * chance) - ridge * weights
        inverse = _inverse(columns, (won + lost) * chance * (1 - chance), ridge)
        if inverse is None:
            return np.nan
        step = inverse @ gradient
        if np.abs(step).max() < _TOLERANCE:
            return np.nan if inverse[0, 0] > _UNSURE**2 else float(_chance(weights[0]))
        weights = _stepped(columns, won, lost, ridge, weights, step)
    return np.nan


def _outside(differences: np.ndarray) -> list[str]:
    """Styles that differ to one side alone, so that none being different is beyond the prompts."""
    low, high = differences.min(0), differences.max(0)
    beyond = (low > _TOLERANCE) | (high < -_TOLERANCE)
    return [name for name, is_beyond in zip(NAMES, beyond, strict=True) if is_beyond]


def _chance(logits: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.exp(-np.logaddexp(0, -logits))
    return result


def _inverse(columns: np.ndarray, curvature: np.ndarray, ridge: np.ndarray) -> np.ndarray | None:
    """The covariance of the weights; None where rounding leaves none."""
    try:
        inverse = np.linalg.inv((columns.T * curvature) @ columns + np.diag(ridge))
    except np.linalg.LinAlgError:
        return None
    return inverse if np.isfinite(inverse).all() else None


def _stepped(
    columns: np.ndarray, won: np.ndarray, lost: np.ndarray, ridge: np.ndarray,
    weights: np.ndarray, step: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """The weights one step on, halved until the penalised likelihood does not fall."""

    def loss(at: np.ndarray) -> float:
        logits = columns @ at
        misses = won @ np.logaddexp(0, -logits) + lost @ np.logaddexp(0, logits)
        return float(misses + 0.5 * ridge @ at**2)

    before = loss(weights)
    for _ in range(_MOST_HALVINGS):
        if loss(weights + step) <= before * (1 + 1e-12):
            break
        step = step / 2
    return weights + step
