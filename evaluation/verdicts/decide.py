"""One verdict of a policy against the one it began from: better, same or worse, with its reasons.

Pure: evidence in, verdict out. What is not known is said in a reason of its own; it never counts
for or against. A gate between rounds reads `Verdict`, which is JSON both ways.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from contracts.config.base import Config
from evaluation.verdicts.plain_number import plain

_UNSIGNED = ("length", "drift")
"""Measures that are no change: a ratio, and a figure of one policy."""
Outcome = Literal["better", "same", "worse"]
Effect = Literal["better", "same", "worse", "missing"]


class Interval(Config):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float
    is_sure: bool = True
    """False where answers without a score could turn what the interval says."""


class Change(Config):
    """A figure before and after, in its own unit."""

    before: float
    after: float
    low: float | None = None
    """95 % interval of after less before, of `length` of after over before; null where none is
    known."""
    high: float | None = None
    is_sure: bool = True
    """False where the one policy has left out more answers than the other."""


class Evidence(Config):
    """What is known of a policy on held-out prompts; null where nothing is."""

    training_reward: Interval | None = None
    """Gain by the annotator that it was trained against, after less before."""
    second_reward: Interval | None = None
    """Gain by one that it was not trained against."""
    win_rate: Interval | None = None
    """Per cent against the policy before, by a reward model."""
    alpaca_eval: Interval | None = None
    """Points of win rate by a judge, after less before; length-controlled where that is known."""
    arena_hard: Interval | None = None
    """The same of Arena-Hard."""
    mt_bench: Interval | None = None
    """Rating by a judge, after less before."""
    length: Change | None = None
    """Mean answer, in tokens or characters."""
    repetition: Change | None = None
    """Mean share of an answer's 4-grams that it has said before, 0 to 1."""
    refusals: Change | None = None
    """Share of answers that refuse, 0 to 1."""
    gsm8k: Change | None = None
    """Accuracy, per cent."""
    mmlu: Change | None = None
    """Accuracy, per cent."""
    ifeval: Change | None = None
    """Prompt-level strict accuracy, per cent."""
    drift: Interval | None = None
    """Mean log-ratio a token of policy over start on the policy's own held-out answers, nats."""


class VerdictConfig(Config):
    """What is too much. Each limit is of a harm; none of them makes a policy better."""

    require_second_reward: bool = True
    """Whether `better` needs the gain of an annotator that was not trained against: gains by the
    trained one alone are what over-optimisation looks like (arXiv 2505.18126)."""
    max_length_growth: Annotated[float, Field(ge=1)] = 1.3
    """Mean length after over before. Published gemma-2-9b-it runs grew by 1.17 (SimPO) and 1.28
    (DPO) on AlpacaEval."""
    max_repetition_growth: Annotated[float, Field(ge=0)] = 0.02
    """Rise of the share of repeated 4-grams; people's text is at 0.006, a language model's
    greedy text at 0.44 (arXiv 1908.04319)."""
    max_refusal_growth: Annotated[float, Field(ge=0)] = 0.02
    """Rise of the share of refusals: 2 in 100, eight standard errors where 0.5 % of 805 refuse."""
    max_gsm8k_drop: Annotated[float, Field(ge=0)] = 2.0
    """Points. One checkpoint evaluated twice moves by about 1 (SimPO#21), and the published runs
    rose by 0.6 and 1.1; 0.9 is a standard error at 1,319 questions."""
    max_mmlu_drop: Annotated[float, Field(ge=0)] = 2.0
    """Points. The published runs fell by 0.5; 0.85 is a standard error at 2,778 questions."""
    max_ifeval_drop: Annotated[float, Field(ge=0)] = 4.0
    """Points: two standard errors at its 541 prompts, of an accuracy of 70 %."""
    max_drift: Annotated[float, Field(ge=0)] = 0.5
    """Nats a token. Of our own choice, to be set from runs that were found good: at 0.5 the policy
    gives each of its tokens 1.65 times the start's probability on average."""


class Reason(Config):
    """What one measure says."""

    measure: str
    effect: Effect
    says: str


class Verdict(Config):
    """The outcome and everything it rests on."""

    outcome: Outcome
    reasons: list[Reason]

    @property
    def missing(self) -> list[str]:
        """Measures that nothing is known of."""
        return [reason.measure for reason in self.reasons if reason.effect == "missing"]


def decide(evidence: Evidence, config: VerdictConfig) -> Verdict:
    """Worse where any measure is; better where rewards are, and nothing is worse; else the same.

    A harm is one where its interval lies beyond its limit, a figure without one where it does.
    `better` needs the training annotator's gain to be surely above zero, and so the second one's
    (`require_second_reward`); a win rate surely above half does not stand in for either.
    """
    reasons = [*_rewards(evidence), _win_rate(evidence), *_judged(evidence)]
    reasons += _harms(evidence, config)
    effects = {reason.measure: reason.effect for reason in reasons}
    if "worse" in effects.values():
        return Verdict(outcome="worse", reasons=reasons)
    needed = ["training_reward"]
    if config.require_second_reward or evidence.second_reward:
        needed.append("second_reward")
    better = all(effects[measure] == "better" for measure in needed)
    if not better and (missing := [name for name in needed if effects[name] == "missing"]):
        says = f"better cannot be said without {' and '.join(missing)}"
        reasons.append(Reason(measure="outcome", effect="same", says=says))
    return Verdict(outcome="better" if better else "same", reasons=reasons)


def _rewards(evidence: Evidence) -> Iterator[Reason]:
    says = "gain of the mean reward"
    yield _sided("training_reward", evidence.training_reward, 0.0, says)
    yield _sided("second_reward", evidence.second_reward, 0.0, says)


def _win_rate(evidence: Evidence) -> Reason:
    return _sided("win_rate", evidence.win_rate, 50.0, "per cent against the policy before")


def _judged(evidence: Evidence) -> Iterator[Reason]:
    yield _sided("alpaca_eval", evidence.alpaca_eval, 0.0, "points of win rate, after less before")
    yield _sided("arena_hard", evidence.arena_hard, 0.0, "points of win rate, after less before")
    yield _sided("mt_bench", evidence.mt_bench, 0.0, "of 10, after less before")


def _sided(measure: str, figure: Interval | None, even: float, what: str) -> Reason:
    if figure is None:
        return _missing(measure)
    effect: Effect = "same"
    if figure.is_sure and figure.low > even:
        effect = "better"
    elif figure.is_sure and figure.high < even:
        effect = "worse"
    says = f"{plain(figure.value)} ({plain(figure.low)} to {plain(figure.high)}) {what}"
    unsure = "" if figure.is_sure else "; answers without a score could turn it"
    return Reason(measure=measure, effect=effect, says=says + unsure)


def _harms(evidence: Evidence, config: VerdictConfig) -> Iterator[Reason]:
    yield _length(evidence.length, config.max_length_growth)
    yield _risen("repetition", evidence.repetition, config.max_repetition_growth)
    yield _risen("refusals", evidence.refusals, config.max_refusal_growth)
    yield _fallen("gsm8k", evidence.gsm8k, config.max_gsm8k_drop)
    yield _fallen("mmlu", evidence.mmlu, config.max_mmlu_drop)
    yield _fallen("ifeval", evidence.ifeval, config.max_ifeval_drop)
    yield _drift(evidence.drift, config.max_drift)


def _length(change: Change | None, limit: float) -> Reason:
    if change is None or change.before <= 0:
        return _missing("length")
    growth = change.after / change.before
    says = f"{growth:.3g} times as long as before"
    return _limited("length", growth, limit, says, change, change.low)


def _risen(measure: str, change: Change | None, limit: float) -> Reason:
    if change is None:
        return _missing(measure)
    rise = change.after - change.before
    return _limited(
        measure, rise, limit, f"{_moved(change)}, {plain(rise, '+')}", change, change.low
    )


def _fallen(measure: str, change: Change | None, limit: float) -> Reason:
    if change is None:
        return _missing(measure)
    drop = change.before - change.after
    mildest = None if change.high is None else -change.high
    return _limited(
        measure, drop, limit, f"{_moved(change)}, {plain(-drop, '+')} points", change, mildest
    )


def _drift(drift: Interval | None, limit: float) -> Reason:
    if drift is None:
        return _missing("drift")
    says = f"{plain(drift.value)} nats a token from the start"
    mildest = max(drift.low, -drift.high, 0.0)
    return _limited("drift", abs(drift.value), limit, says, drift, mildest)


def _moved(change: Change) -> str:
    return f"{plain(change.before)} before, {plain(change.after)} after"


def _limited(
    measure: str,
    harm: float,
    limit: float,
    says: str,
    change: Change | Interval,
    mildest: float | None,
) -> Reason:
    """
    Args:
        change: what the harm is read from.
        mildest: the end of the harm's interval that does least; None where there is none.
    """
    says = f"{says}; allowed is {limit:g}"
    if change.low is not None and change.high is not None:
        sign: Literal["", "+"] = "" if measure in _UNSIGNED else "+"
        says += f"; 95 % interval {plain(change.low, sign)} to {plain(change.high, sign)}"
    if not change.is_sure:
        return Reason(
            measure=measure, effect="missing", says=f"{says}; one policy left out more answers"
        )
    # A decimal's last bits must not decide: 0.03 - 0.01 is above 0.02.
    over = min(harm, harm if mildest is None else mildest) > limit + 1e-9
    return Reason(measure=measure, effect="worse" if over else "same", says=says)


def _missing(measure: str) -> Reason:
    return Reason(measure=measure, effect="missing", says="not measured")
