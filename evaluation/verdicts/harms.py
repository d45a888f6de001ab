"""What a policy has lost over the round, and since the run's start, each harm against its limit."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from evaluation.verdicts.evidence import Change, Evidence, Harms, Interval
from evaluation.verdicts.family import Tested
from evaluation.verdicts.findings import Effect, Finding, Reason, missing, too_few
from evaluation.verdicts.limits import VerdictConfig
from evaluation.verdicts.plain_number import plain

SINCE_START = "_since_start"
"""Ends the name of a measure against the policy that the run started from."""


class _Harm(NamedTuple):
    """One harm, and what it is read from."""

    figure: Change | Interval
    size: float
    mildest: float | None
    """The end of its interval that does least; None where there is none."""
    limit: float
    says: str
    is_change: bool = True
    """False of a ratio, and of a figure of one policy: its interval's ends have no sign."""


def harms(evidence: Evidence, config: VerdictConfig) -> Iterator[Finding]:
    """One finding a harm: of the round, then those since the start that anything is known of."""
    over_round: dict[str, _Harm | None] = {
        **_changes(evidence, config, 1.0, "before"),
        "drift": _drift(evidence.drift, config.max_drift),
    }
    for measure, harm in over_round.items():
        yield _limited(measure, harm, config.fewest_prompts) if harm else missing(measure)
    if evidence.since_start and config.since_start:
        over_run = _changes(evidence.since_start, config, config.since_start, "at the start")
        for measure, harm in over_run.items():
            if harm:
                yield _limited(measure + SINCE_START, harm, config.fewest_prompts)


def _changes(
    known: Harms, config: VerdictConfig, rounds: float, when: str
) -> Mapping[str, _Harm | None]:
    """
    Args:
        rounds: how many rounds' limits are allowed.
        when: the policy was what it is compared with.
    """
    return {
        "length": _grown(known.length, config.max_length_growth**rounds, when),
        "repetition": _risen(known.repetition, config.max_repetition_growth * rounds, when),
        "refusals": _risen(known.refusals, config.max_refusal_growth * rounds, when),
        "gsm8k": _fallen(known.gsm8k, config.max_gsm8k_drop * rounds, when),
        "mmlu": _fallen(known.mmlu, config.max_mmlu_drop * rounds, when),
        "ifeval": _fallen(known.ifeval, config.max_ifeval_drop * rounds, when),
    }


def _grown(change: Change | None, limit: float, when: str) -> _Harm | None:
    if change is None or change.before <= 0:
        return None
    growth = change.after / change.before
    says = f"{growth:.3g} times as long as {when}"
    return _Harm(change, growth, change.low, limit, says, is_change=False)


def _risen(change: Change | None, limit: float, when: str) -> _Harm | None:
    if change is None:
        return None
    rise = change.after - change.before
    return _Harm(change, rise, change.low, limit, f"{_moved(change, when)}, {plain(rise, '+')}")


def _fallen(change: Change | None, limit: float, when: str) -> _Harm | None:
    if change is None:
        return None
    drop = change.before - change.after
    mildest = None if change.high is None else -change.high
    says = f"{_moved(change, when)}, {plain(-drop, '+')} points"
    return _Harm(change, drop, mildest, limit, says)


def _drift(drift: Interval | None, limit: float) -> _Harm | None:
    if drift is None:
        return None
    mildest = max(drift.low, -drift.high, 0.0)
    says = f"{plain(drift.value)} nats a token from the start"
    return _Harm(drift, abs(drift.value), mildest, limit, says, is_change=False)


def _moved(change: Change, when: str) -> str:
    return f"{plain(change.before)} {when}, {plain(change.after)} after"


def _limited(measure: str, harm: _Harm, fewest: int) -> Finding:
    figure = harm.figure
    says = f"{harm.says}; allowed is {harm.limit:.3g}"
    if figure.low is not None and figure.high is not None:
        sign: Literal["", "+"] = "+" if harm.is_change else ""
        ends = f"{plain(figure.low, sign)} to {plain(figure.high, sign)}"
        says += f"; {100 * figure.confidence:g} % interval {ends}"
    if not figure.is_sure:
        return missing(measure, f"{says}; one policy left out more answers")
    if short := too_few(figure, fewest):
        return missing(measure, says + short)
    mildest = harm.size if harm.mildest is None else harm.mildest
    # A decimal's last bits must not decide: 0.03 - 0.01 is above 0.02.
    allowed = harm.limit + 1e-9
    effect: Effect = "worse" if min(harm.size, mildest) > allowed else "same"
    test = None
    if harm.mildest is not None:
        half = max(harm.size - mildest, 0.0)
        test = Tested(harm.size - allowed, half, figure.confidence, figure.prompts)
    return Finding(Reason(measure=measure, effect=effect, says=says), test)
