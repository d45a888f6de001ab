"""One verdict of a policy against the one it began from: better, same or worse, with its reasons.

Pure: evidence in, verdict out. What is not known is said in a reason of its own; it never counts
for or against. A gate between rounds reads `Verdict`, which is JSON both ways.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from contracts.config.base import Config
from evaluation.verdicts.evidence import Change, Evidence, Interval
from evaluation.verdicts.family import CHANCE, Tested, surely
from evaluation.verdicts.plain_number import plain
from evaluation.win_rates.estimate import FEWEST

_UNSIGNED = ("length", "drift")
"""Measures that are no change: a ratio, and a figure of one policy."""
Outcome = Literal["better", "same", "worse"]
Effect = Literal["better", "same", "worse", "missing"]


class VerdictConfig(Config):
    """What is too much. Each limit is of a harm; none of them makes a policy better."""

    fewest_prompts: Annotated[int, Field(ge=2)] = FEWEST
    """Prompts that a measure needs: one over fewer is missing. Of a policy that did not change, a
    bootstrap of 3 prompts is sure of a loss in 14 %, of 1 in half; of 10 its interval is sound."""

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


@dataclass(frozen=True)
class _Finding:
    """What one measure says by itself, and what makes it sure where others may say so too."""

    reason: Reason
    test: Tested | None = None
    """That it is worse; None where it has no interval, or cannot be."""


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

    A harm is one where its interval lies beyond its limit, and would so with all measures of this
    verdict taken together (`evaluation.verdicts.family`); a figure without an interval where it
    does. `better` needs the training annotator's gain to be surely above zero, and so the second
    one's (`require_second_reward`); a win rate surely above half does not stand in for either.
    """
    findings = [*_sides(evidence, config), *_harms(evidence, config)]
    reasons = _together(findings)
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


def _together(findings: Sequence[_Finding]) -> list[Reason]:
    """Each measure's reason, with what the others make of it, and which they are."""
    tests = {one.reason.measure: one.test for one in findings if one.test}
    sure = surely(tests)
    reasons = [
        one.reason.model_copy(
            update={"effect": "same",
                    "says": f"{one.reason.says}; not sure enough as one of {len(tests)} measures"}
        )
        if one.reason.effect == "worse" and one.test and one.reason.measure not in sure
        else one.reason
        for one in findings
    ]  # fmt: skip
    if len(tests) > 1:
        says = (
            f"an unchanged policy is `worse` in {CHANCE:.1%} at most by any of the {len(tests)} "
            f"measures with an interval (Holm): {', '.join(tests)}"
        )
        reasons.append(Reason(measure="family", effect="same", says=says))
    return reasons


def _sides(evidence: Evidence, config: VerdictConfig) -> Iterator[_Finding]:
    gain, points = "gain of the mean reward", "points of win rate, after less before"
    for measure, figure, even, what in (
        ("training_reward", evidence.training_reward, 0.0, gain),
        ("second_reward", evidence.second_reward, 0.0, gain),
        ("win_rate", evidence.win_rate, 50.0, "per cent against the policy before"),
        ("alpaca_eval", evidence.alpaca_eval, 0.0, points),
        ("arena_hard", evidence.arena_hard, 0.0, points),
        ("mt_bench", evidence.mt_bench, 0.0, "of 10, after less before"),
    ):
        yield _sided(measure, figure, even, what, config.fewest_prompts)


def _sided(measure: str, figure: Interval | None, even: float, what: str, fewest: int) -> _Finding:
    if figure is None:
        return _missing(measure)
    says = f"{plain(figure.value)} ({plain(figure.low)} to {plain(figure.high)}) {what}"
    if too_few := _too_few(figure, fewest):
        return _missing(measure, says + too_few)
    if not figure.is_sure:
        says += "; answers without a score could turn it"
        return _Finding(Reason(measure=measure, effect="same", says=says))
    effect: Effect = "same"
    if figure.low > even:
        effect = "better"
    elif figure.high < even:
        effect = "worse"
    test = Tested(
        even - figure.value, figure.high - figure.value, figure.confidence, figure.prompts
    )
    return _Finding(Reason(measure=measure, effect=effect, says=says), test)


def _too_few(figure: Interval | Change, fewest: int) -> str:
    if figure.prompts is None or figure.prompts >= fewest:
        return ""
    return f"; over {figure.prompts} prompts, where {fewest} are the fewest that decide anything"


def _harms(evidence: Evidence, config: VerdictConfig) -> Iterator[_Finding]:
    harms = {
        "length": (_length(evidence.length), evidence.length, config.max_length_growth),
        "repetition": (
            _risen(evidence.repetition), evidence.repetition, config.max_repetition_growth
        ),
        "refusals": (_risen(evidence.refusals), evidence.refusals, config.max_refusal_growth),
        "gsm8k": (_fallen(evidence.gsm8k), evidence.gsm8k, config.max_gsm8k_drop),
        "mmlu": (_fallen(evidence.mmlu), evidence.mmlu, config.max_mmlu_drop),
        "ifeval": (_fallen(evidence.ifeval), evidence.ifeval, config.max_ifeval_drop),
        "drift": (_drift(evidence.drift), evidence.drift, config.max_drift),
    }  # fmt: skip
    for measure, (harm, figure, limit) in harms.items():
        if harm and figure:
            yield _limited(measure, harm, limit, figure, config.fewest_prompts)
        else:
            yield _missing(measure)


class _Harm(NamedTuple):
    size: float
    mildest: float | None
    """The end of its interval that does least; None where there is none."""
    says: str


def _length(change: Change | None) -> _Harm | None:
    if change is None or change.before <= 0:
        return None
    growth = change.after / change.before
    return _Harm(growth, change.low, f"{growth:.3g} times as long as before")


def _risen(change: Change | None) -> _Harm | None:
    if change is None:
        return None
    rise = change.after - change.before
    return _Harm(rise, change.low, f"{_moved(change)}, {plain(rise, '+')}")


def _fallen(change: Change | None) -> _Harm | None:
    if change is None:
        return None
    drop = change.before - change.after
    mildest = None if change.high is None else -change.high
    return _Harm(drop, mildest, f"{_moved(change)}, {plain(-drop, '+')} points")


def _drift(drift: Interval | None) -> _Harm | None:
    if drift is None:
        return None
    mildest = max(drift.low, -drift.high, 0.0)
    return _Harm(abs(drift.value), mildest, f"{plain(drift.value)} nats a token from the start")


def _moved(change: Change) -> str:
    return f"{plain(change.before)} before, {plain(change.after)} after"


def _limited(
    measure: str, harm: _Harm, limit: float, figure: Change | Interval, fewest: int
) -> _Finding:
    """
    Args:
        figure: what the harm is read from.
    """
    says = f"{harm.says}; allowed is {limit:g}"
    if figure.low is not None and figure.high is not None:
        sign: Literal["", "+"] = "" if measure in _UNSIGNED else "+"
        ends = f"{plain(figure.low, sign)} to {plain(figure.high, sign)}"
        says += f"; {100 * figure.confidence:g} % interval {ends}"
    if not figure.is_sure:
        return _missing(measure, f"{says}; one policy left out more answers")
    if too_few := _too_few(figure, fewest):
        return _missing(measure, says + too_few)
    mildest = harm.size if harm.mildest is None else harm.mildest
    # A decimal's last bits must not decide: 0.03 - 0.01 is above 0.02.
    allowed = limit + 1e-9
    effect: Effect = "worse" if min(harm.size, mildest) > allowed else "same"
    test = None
    if harm.mildest is not None:
        half = max(harm.size - mildest, 0.0)
        test = Tested(harm.size - allowed, half, figure.confidence, figure.prompts)
    return _Finding(Reason(measure=measure, effect=effect, says=says), test)


def _missing(measure: str, says: str = "not measured") -> _Finding:
    return _Finding(Reason(measure=measure, effect="missing", says=says))
