"""A figure before and after, with the interval of its change over the prompts that both answered.

A share of right answers takes Agresti and Min's interval of paired proportions (Statistics in
Medicine 24, 2005): half an answer added to each of the four outcomes, so that one question of one
that turned is no certainty, as it is to a bootstrap.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.verdicts.evidence import Change
from evaluation.win_rates.estimate import Resampling, mean, ratio

_Z = 1.959964
"""Of 95 %."""
_ADDED = 2.0
"""Answers that are added, half of them turned."""


def changed_mean(
    before: Mapping[str, float], after: Mapping[str, float], is_ratio: bool = False
) -> Change | None:
    """Change of a mean over prompts; None where no prompt has a value of both policies.

    Args:
        is_ratio: whether the interval is of after over before.
    """
    both = [prompt for prompt in before if prompt in after]
    if not both:
        return None
    old, new = (np.array([side[prompt] for prompt in both], float) for side in (before, after))
    if is_ratio and old.sum() > 0:
        change = ratio(new, old, Resampling())
    else:
        change = mean(new - old, Resampling())
    return Change(
        before=old.mean(), after=new.mean(), low=change.low, high=change.high, prompts=len(both)
    )


def changed_share(
    before: Mapping[str, Sequence[bool]], after: Mapping[str, Sequence[bool]], is_sure: bool
) -> Change | None:
    """Change of the share of right answers, in per cent; None where no question was asked of both.

    Args:
        is_sure: whether as many of the one policy's as of the other's are there at all.
    """
    both = [question for question in before if question in after]
    if not both:
        return None
    old, new = (np.array([np.mean(side[key]) for key in both]) for side in (before, after))
    low, high = _agresti_min(new - old)
    return Change(
        before=100 * old.mean(), after=100 * new.mean(), low=100 * low, high=100 * high,
        is_sure=is_sure,
    )  # fmt: skip


def unpaired_share(before: tuple[float, int], after: tuple[float, int]) -> Change:
    """Change of a share, in per cent, where it is not known which answers turned: its interval is
    wider than a paired one.

    Agresti and Caffo's interval (The American Statistician 54, 2000): a right and a wrong answer
    added to each.
    """
    shares, variance = [], 0.0
    for share, questions in (before, after):
        shares.append((share * questions + 1) / (questions + 2))
        variance += shares[-1] * (1 - shares[-1]) / (questions + 2)
    middle, spread = shares[1] - shares[0], _Z * variance**0.5
    return Change(
        before=100 * before[0], after=100 * after[0],
        low=100 * (middle - spread), high=100 * (middle + spread),
    )  # fmt: skip


def _agresti_min(difference: np.ndarray) -> tuple[float, float]:
    """
    Args:
        difference: [questions] -1 to 1.
    """
    count = len(difference) + _ADDED
    middle = difference.sum() / count
    variance = ((difference**2).sum() + _ADDED / 2) / count - middle**2
    spread = _Z * (variance / count) ** 0.5
    return float(middle - spread), float(middle + spread)
