"""Evidence from the tables and facts of a run's steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import OnPolicyError
from contracts.steps.facts import read_facts
from contracts.tables.parts import read_table
from evaluation.answer_tokens import SIDES
from evaluation.answers import AnswersFacts
from evaluation.compare import Gains, Shares
from evaluation.judged import JudgedBenchmark, WinRatesFacts
from evaluation.judging.referees.benchmarks import REFEREES
from evaluation.verdicts.evidence import Change, Harms, Interval
from evaluation.verdicts.paired import changed_mean, changed_share, unpaired_share
from evaluation.verdicts.refusals import is_refusal
from evaluation.win_rates.estimate import Resampling, mean
from evaluation.win_rates.rewards import RewardWinRate, reward_win_rates
from generation.sampling.repetition import repetition as repeated

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
    """Win rate by annotator: how often answers to these prompts score above another policy's.

    Raises:
        OnPolicyError: no annotator scored both.
    """
    policy, base = (_of(read_table(one, _SCORE_COLUMNS), prompts) for one in (after, before))
    return reward_win_rates(policy, base, Resampling())


def chosen_rate(rates: WinRates, annotator: str) -> Interval | None:
    """The annotator's win rate, in per cent."""
    rates_of = rates.get(annotator)
    if rates_of is None:
        return None
    rate = rates_of.win_rate
    is_surely_apart = rates_of.at_lowest > 50 or rates_of.at_highest < 50
    interval = _interval(rate.value, rate.low, rate.high, 50, is_surely_apart)
    return interval.model_copy(update={"prompts": rates_of.n})


def gain(gains: Mapping[str, Gains | Shares], annotator: str | None) -> Interval | None:
    """The annotator's mean gain over the round before; None where no prompt has all its scores."""
    gains_of = gains.get(annotator) if annotator else None
    if not isinstance(gains_of, Gains):
        return None
    over = gains_of.over_before
    interval = _interval(over.mean, over.low, over.high, 0, over.side != "unclear")
    sampled = {"prompts": over.prompts, "confidence": over.confidence}
    return interval.model_copy(update=sampled)


def _interval(value: float, low: float, high: float, even: float, is_surely: bool) -> Interval:
    """
    Args:
        is_surely: whether it lies apart from `even` wherever answers without a score would.
    """
    is_apart = low > even or high < even
    return Interval(value=value, low=low, high=high, is_sure=is_surely or not is_apart)


@dataclass(frozen=True)
class Answered:
    """A policy's answers to the held-out prompts, and to the benchmarks where a run asks any."""

    held_out: Path
    benchmarks: Path | None


def harms(before: Answered, after: Answered, prompts: pa.Array) -> Harms:
    """What the one policy has lost against the other.

    Raises:
        OnPolicyError: both answered none of the prompts.
    """
    return Harms(
        length=lengths(before.held_out, after.held_out, prompts),
        repetition=repetition(before.held_out, after.held_out, prompts),
        refusals=refusals(before.held_out, after.held_out, prompts),
        **accuracies(before.benchmarks, after.benchmarks),
    )


def lengths(before: Path, after: Path, prompts: pa.Array) -> Change:
    """Mean tokens of an answer to these prompts, over those that both answered.

    Raises:
        OnPolicyError: both answered none.
    """
    old, new = (_means(folder, prompts, "n_tokens", np.asarray) for folder in (before, after))
    change = changed_mean(old, new, is_ratio=True)
    if change is None:
        raise OnPolicyError(f"{after}: no held-out prompt was answered by both policies")
    return change


def repetition(before: Path, after: Path, prompts: pa.Array) -> Change | None:
    """Repeated 4-grams of the answers to these prompts; None where all are too short."""
    old, new = (_means(folder, prompts, "token_ids", repeated) for folder in (before, after))
    return changed_mean(old, new)


def refusals(before: Path, after: Path, prompts: pa.Array) -> Change | None:
    """Share of the answers to these prompts that refuse, by how they open."""
    old, new = (_means(folder, prompts, "text", _refuses) for folder in (before, after))
    return changed_mean(old, new)


def _refuses(texts: pa.StringArray) -> np.ndarray:
    return np.array([is_refusal(text) for text in texts.to_pylist()], float)


def drift(by_start: Path | None, by_policy: Path | None) -> Interval | None:
    """Mean log-ratio a token of policy over start, of the policy's own held-out answers, nats.

    Each answer counts once, whatever its length; a prompt's two are drawn together.
    """
    if by_start is None or by_policy is None:
        return None
    columns = ["prompt_id", *(f"{side}_{of}" for side in SIDES for of in ("logp", "tokens"))]
    start, policy = (read_table(folder, columns) for folder in (by_start, by_policy))
    ratios = [
        (policy[f"{side}_logp"].to_numpy() - start[f"{side}_logp"].to_numpy())
        / start[f"{side}_tokens"].to_numpy()
        for side in SIDES
    ]
    found = mean(np.mean(ratios, axis=0), Resampling())
    return Interval(value=found.value, low=found.low, high=found.high, prompts=start.num_rows)


def judged_gains(win_rates: Path | None, judge: str | None) -> dict[str, Interval]:
    """Gain of a judge's figure over the round before, by benchmark; of the length-controlled
    figure where it is known."""
    facts = read_facts(win_rates, WinRatesFacts) if win_rates else None
    judged = facts.judged if facts else ()
    gains = {one.benchmark: judged_gain(one) for one in judged if one.judge == judge}
    sampled = {"confidence": facts.confidence} if facts else {}
    return {name: gain.model_copy(update=sampled) for name, gain in gains.items() if gain}


def judged_gain(judged: JudgedBenchmark) -> Interval | None:
    """The gain of the figure that counts; None where there is none.

    It is sure where no missing judgement could turn it. Another figure's interval is widened by as
    much as they could move the plain one's.
    """
    gain, plain = (
        judged.gains.get(name) for name in (judged.chosen, REFEREES[judged.benchmark].figure)
    )
    if not gain or not plain:
        return None
    low, high = gain.low, gain.high
    if bounds := judged.gain_bounds:
        low -= max(plain.low - bounds.at_lowest, 0)
        high += max(bounds.at_highest - plain.high, 0)
    interval = _interval(gain.value, gain.low, gain.high, 0, low > 0 or high < 0)
    return interval.model_copy(update={"prompts": judged.compared})


def accuracies(before: Path | None, after: Path | None) -> dict[str, Change | None]:
    """Accuracy in per cent, of each benchmark that a verdict reads and both policies answered.

    A question without an answer is a wrong one; where the one policy has more of them than the
    other, the measure is not sure.
    """
    if before is None or after is None:
        return {}
    sides = [_graded(folder) for folder in (before, after)]
    exact = {name: _accuracy(*(side.get(name) for side in sides)) for name in ("gsm8k", "mmlu")}
    return exact | {"ifeval": _ifeval(before, after)}


@dataclass
class _Graded:
    """A policy's answers to a benchmark: right or not by question, and how many are not there."""

    right: dict[str, list[bool]]
    unanswered: int = 0


def _graded(answers: Path) -> dict[str, _Graded]:
    by_benchmark: dict[str, _Graded] = {}
    columns = ["benchmark", "question_id", "correct", "error"]
    for row in read_table(answers, columns).to_pylist():
        if row["correct"] is None and row["error"] is None:
            continue  # a benchmark without right answers
        graded = by_benchmark.setdefault(row["benchmark"], _Graded({}))
        graded.right.setdefault(row["question_id"], []).append(bool(row["correct"]))
        graded.unanswered += row["correct"] is None
    return by_benchmark


def _accuracy(before: _Graded | None, after: _Graded | None) -> Change | None:
    if before is None or after is None:
        return None
    is_sure = before.unanswered == after.unanswered
    return changed_share(before.right, after.right, is_sure)


def _ifeval(before: Path, after: Path) -> Change | None:
    shares: list[tuple[float, int]] = []
    for folder in (before, after):
        facts = read_facts(folder, AnswersFacts)
        one = facts.benchmarks.get("ifeval") if facts else None
        share = (one.metrics or {}).get(_IFEVAL) if one else None
        if one is None or share is None:
            return None
        shares.append((share, one.turns))
    return unpaired_share(*shares)


def _means(
    folder: Path, prompts: pa.Array, column: str, of: Callable[[pa.Array], np.ndarray]
) -> dict[str, float]:
    """The mean of a figure of each answer, by prompt; without prompts whose answers have none."""
    table = _of(read_table(folder, ["prompt_id", column]), prompts).combine_chunks()
    figures = of(table[column].combine_chunks())
    by_prompt: dict[str, list[float]] = {}
    for prompt, figure in zip(table["prompt_id"].to_pylist(), figures, strict=True):
        if not np.isnan(figure):
            by_prompt.setdefault(prompt, []).append(float(figure))
    return {prompt: sum(of_prompt) / len(of_prompt) for prompt, of_prompt in by_prompt.items()}


def _of(table: pa.Table, prompts: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table["prompt_id"], value_set=prompts))
