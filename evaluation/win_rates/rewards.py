"""Reward-model win rate: how often an annotator scores the policy's answer above the base's."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from contracts.errors import OnPolicyError
from evaluation.expected_answers import expected_answers
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
    """Prompts of which an answer has no score, or was never given: in no figure above."""
    unpaired: int
    """Of them, those that only one of the two answered at all."""
    at_lowest: float
    """Lower end of the interval over all prompts if every comparison without a score were lost."""
    at_highest: float
    """Upper end of it if every one were won."""


def reward_win_rates(
    policy: pa.Table, base: pa.Table, resampling: Resampling
) -> dict[str, RewardWinRate]:
    """Win rate by each annotator that scored both models' answers.

    Args:
        policy, base: SCORES of both models' answers to the same prompts.

    Raises:
        OnPolicyError: no annotator scored both, or none an answer of both to one prompt.
    """
    names = [set(table["annotator"].unique().to_pylist()) for table in (policy, base)]
    rates = {}
    for name in sorted(names[0] & names[1]):
        rate = _win_rate(_of(policy, name), _of(base, name), resampling)
        if rate:
            rates[name] = rate
    if not rates:
        raise OnPolicyError(
            "no prompt has a score of both policies by the same annotator: "
            f"{', '.join(sorted(names[0])) or 'none'} and {', '.join(sorted(names[1])) or 'none'}"
        )
    return rates


def _win_rate(policy: _Scores, base: _Scores, resampling: Resampling) -> RewardWinRate | None:
    prompts = list(policy | base)
    sides = [[side.get(prompt, []) for prompt in prompts] for side in (policy, base)]
    answers = expected_answers([np.array([len(rows) for rows in side]) for side in sides])
    rows = [_comparisons(*both) for both in zip(*sides, answers, strict=True)]
    scored = [row for row in rows if not row.missing]
    if not scored:
        return None
    at_lowest = mean(np.array([row.wins for row in rows]), resampling)
    at_highest = mean(np.array([row.wins + row.missing for row in rows]), resampling)
    return RewardWinRate(
        len(scored),
        times(100, mean(np.array([row.wins for row in scored]), resampling)),
        float(np.mean([row.tied for row in scored])),
        unscored=len(rows) - len(scored),
        unpaired=len(policy.keys() ^ base.keys()),
        at_lowest=100 * at_lowest.low,
        at_highest=100 * at_highest.high,
    )


@dataclass(frozen=True)
class _Comparisons:
    """Shares of a prompt's comparisons, 0 to 1."""

    won: float
    tied: float
    missing: float

    @property
    def wins(self) -> float:
        return self.won + self.tied / 2


def _comparisons(
    policy: Sequence[float | None], base: Sequence[float | None], answers: int
) -> _Comparisons:
    """Each answer of the policy against each of the base, of so many that both should have."""
    ours, theirs = (
        np.array([score for score in side if score is not None], float)[:, None]
        for side in (policy, base)
    )
    games = answers**2
    won, tied = int((ours > theirs.T).sum()), int((ours == theirs.T).sum())
    return _Comparisons(won / games, tied / games, 1 - ours.size * theirs.size / games)


def _of(scores: pa.Table, annotator: str) -> _Scores:
    by_prompt: _Scores = defaultdict(list)
    rows = zip(
        *(scores[key].to_pylist() for key in ("annotator", "prompt_id", "score")), strict=True
    )
    for name, prompt, score in rows:
        if name == annotator:
            by_prompt[prompt].append(score)
    return dict(by_prompt)
