"""One verdict of a policy against the one it began from: better, same or worse, with its reasons.

Pure: evidence in, verdict out. What is not known is said in a reason of its own; it never counts
for or against. A gate between rounds reads `Verdict`, which is JSON both ways.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from contracts.config.base import Config
from evaluation.verdicts.evidence import Evidence, Interval
from evaluation.verdicts.family import CHANCE, Tested, surely
from evaluation.verdicts.findings import Effect, Finding, Reason, missing, too_few
from evaluation.verdicts.harms import harms
from evaluation.verdicts.limits import VerdictConfig
from evaluation.verdicts.plain_number import plain

Outcome = Literal["better", "same", "worse"]


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
    findings = [*_sides(evidence, config), *harms(evidence, config)]
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


def _together(findings: Sequence[Finding]) -> list[Reason]:
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


def _sides(evidence: Evidence, config: VerdictConfig) -> Iterator[Finding]:
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


def _sided(measure: str, figure: Interval | None, even: float, what: str, fewest: int) -> Finding:
    if figure is None:
        return missing(measure)
    says = f"{plain(figure.value)} ({plain(figure.low)} to {plain(figure.high)}) {what}"
    if short := too_few(figure, fewest):
        return missing(measure, says + short)
    if not figure.is_sure:
        says += "; answers without a score could turn it"
        return Finding(Reason(measure=measure, effect="same", says=says))
    effect: Effect = "same"
    if figure.low > even:
        effect = "better"
    elif figure.high < even:
        effect = "worse"
    test = Tested(
        even - figure.value, figure.high - figure.value, figure.confidence, figure.prompts
    )
    return Finding(Reason(measure=measure, effect=effect, says=says), test)
