"""Evidence from the tables and facts of a run's steps."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from contracts.steps.facts import read_facts
from contracts.tables.parts import read_table
from evaluation.answers import AnswersFacts
from evaluation.compare import Gains, Shares
from evaluation.verdicts.decide import Change, Interval
from evaluation.win_rates.estimate import Resampling
from evaluation.win_rates.rewards import RewardWinRate, reward_win_rates
from generation.sample import SampleFacts

WinRates = dict[str, RewardWinRate]
"""By annotator."""
_SCORE_COLUMNS = ["annotator", "prompt_id", "score"]
_IFEVAL = "prompt_level_strict_acc,none"
"""As lm-eval calls it: the metric and its filter."""


def held_out(prompts: Path) -> pa.Array:
    """Ids of the prompts that a round is judged by."""
    table = read_table(prompts, ["prompt_id", "split"])
    return table.filter(pc.field("split") == "test")["prompt_id"].combine_chunks()


def win_rates(after: Path, before: Path, prompts: pa.Array) -> WinRates:
    """By annotator, how often answers to these prompts score above those of another policy.

    Raises:
        OnPolicyError: no annotator scored both.
    """
    policy, base = (_of(read_table(one, _SCORE_COLUMNS), prompts) for one in (after, before))
    return reward_win_rates(policy, base, Resampling())


def chosen_rate(rates: WinRates, annotator: str) -> Interval | None:
    """The annotator's win rate, in per cent."""
    found = rates.get(annotator)
    if found is None:
        return None
    rate = found.win_rate
    is_surely_apart = found.at_lowest > 50 or found.at_highest < 50
    return _interval(rate.value, rate.low, rate.high, 50, is_surely_apart)


def gain(gains: Mapping[str, Gains | Shares], annotator: str | None) -> Interval | None:
    """The annotator's mean gain over the round before; None where no prompt has all its scores."""
    found = gains.get(annotator) if annotator else None
    if not isinstance(found, Gains):
        return None
    over = found.over_before
    return _interval(over.mean, over.low, over.high, 0, over.verdict != "unclear")


def _interval(value: float, low: float, high: float, even: float, is_surely: bool) -> Interval:
    """
    Args:
        is_surely: whether it lies apart from `even` wherever answers without a score would.
    """
    is_apart = low > even or high < even
    return Interval(value=value, low=low, high=high, is_sure=is_surely or not is_apart)


def lengths(before: Path, after: Path, prompts: pa.Array) -> Change:
    """Mean tokens of an answer to these prompts."""
    means = (
        pc.mean(_of(read_table(folder, ["prompt_id", "n_tokens"]), prompts)["n_tokens"]).as_py()
        for folder in (before, after)
    )
    return Change(before=next(means), after=next(means))


def repetition(before: Path, after: Path) -> Change | None:
    """Repeated 4-grams of the held-out answers; None where all are too short to have any."""
    shares = [
        facts.repetition if (facts := read_facts(folder, SampleFacts)) else None
        for folder in (before, after)
    ]
    return _change(*shares)


def accuracies(before: Path | None, after: Path | None) -> dict[str, Change | None]:
    """Per cent, of each benchmark that a verdict reads and both policies answered."""
    scores = [_scores(folder) for folder in (before, after)]
    return {
        name: _change(*(found.get(name) for found in scores))
        for name in ("gsm8k", "mmlu", "ifeval")
    }


def _scores(answers: Path | None) -> dict[str, float | None]:
    facts = read_facts(answers, AnswersFacts) if answers else None
    found = {}
    for name, one in (facts.benchmarks if facts else {}).items():
        share = (one.metrics or {}).get(_IFEVAL) if name == "ifeval" else one.accuracy
        found[name] = None if share is None else 100 * share
    return found


def _change(before: float | None, after: float | None) -> Change | None:
    return None if before is None or after is None else Change(before=before, after=after)


def _of(table: pa.Table, prompts: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table["prompt_id"], value_set=prompts))
