"""Reward-model win rate: how often an annotator scores the policy's answer above the base's."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from contracts.errors import OnPolicyError
from evaluation.win_rates.estimate import Estimate, Resampling, mean, times

_Scores = dict[str, list[float | None]]


@dataclass(frozen=True)
class RewardWinRate:
    """Per cent of the policy's answers that score above the base's to the same prompt."""

    n: int
    """Prompts of which every answer has a score."""
    win_rate: Estimate
    ties: float
    """Share of the comparisons that are equal, 0 to 1; each counts as half a win."""
    unscored: int
    """Prompts of which an answer has no score: in no figure above."""
    unpaired: int
    """Prompts that only one of the two answered."""
    at_lowest: float
    """The win rate if every comparison without a score were lost."""
    at_highest: float
    """The win rate if every one were won."""


def reward_win_rates(
    policy: pa.Table, base: pa.Table, resampling: Resampling
) -> dict[str, RewardWinRate]:
    """By annotator: those that scored both.

    Args:
        policy, base: SCORES of both models' answers to the same prompts.

    Raises:
        OnPolicyError: no annotator scored both, or none an answer of both to one prompt.
    """
    names = [set(table["annotator"].unique().to_pylist()) for table in (policy, base)]
    found = {}
    for name in sorted(names[0] & names[1]):
        rate = _win_rate(_of(policy, name), _of(base, name), resampling)
        if rate:
            found[name] = rate
    if not found:
        raise OnPolicyError(
            "no prompt has a score of both policies by the same annotator: "
            f"{', '.join(sorted(names[0])) or 'none'} and {', '.join(sorted(names[1])) or 'none'}"
        )
    return found


def _win_rate(policy: _Scores, base: _Scores, resampling: Resampling) -> RewardWinRate | None:
    both = [prompt for prompt in policy if prompt in base]
    rows = [_comparisons(policy[prompt], base[prompt]) for prompt in both]
    scored = [row for row in rows if not row.missing]
    if not scored:
        return None
    wins = np.array([row.won + row.tied / 2 for row in scored])
    seen = sum(row.won + row.tied / 2 for row in rows)
    return RewardWinRate(
        len(scored),
        times(100, mean(wins, resampling)),
        float(np.mean([row.tied for row in scored])),
        len(rows) - len(scored),
        len(policy.keys() ^ base.keys()),
        100 * seen / len(rows),
        100 * (seen + sum(row.missing for row in rows)) / len(rows),
    )


@dataclass(frozen=True)
class _Comparisons:
    """Shares of a prompt's comparisons, 0 to 1."""

    won: float
    tied: float
    missing: float


def _comparisons(policy: Sequence[float | None], base: Sequence[float | None]) -> _Comparisons:
    """Each answer of the policy against each of the base."""
    own, other = (
        np.array([np.nan if score is None else score for score in side])[:, None]
        for side in (policy, base)
    )
    missing = np.isnan(own - other.T)
    return _Comparisons(
        float((own > other.T).mean()), float((own == other.T).mean()), float(missing.mean())
    )


def _of(scores: pa.Table, annotator: str) -> _Scores:
    found: _Scores = defaultdict(list)
    rows = zip(
        *(scores[key].to_pylist() for key in ("annotator", "prompt_id", "score")), strict=True
    )
    for name, prompt, score in rows:
        if name == annotator:
            found[prompt].append(score)
    return dict(found)
