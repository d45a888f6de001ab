"""Signs of a collapsing policy in a run's metrics, each said once with the knob to turn. Pure."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean

# A single step's means say more of its pairs than of the policy.
_WINDOW = 5
# e ** -1.5: tokens of the chosen responses have become 4.5 times less likely.
_FALL = 1.5
# Of the rejected, which are to become less likely, but not at any price.
_REJECTED_FALL = 4.0
# Of 4-grams said before: people's text has 0.006 of them, a model's greedy text 0.44
# (arXiv 1908.04319).
_REPETITION_RISE = 0.1


class CollapseGuard:
    """Watches a run step by step."""

    def __init__(self) -> None:
        self._chosen: list[float] = []
        self._rejected: list[float] = []
        self._margins: list[float] = []
        self._accuracies: list[float] = []
        self._said: set[str] = set()

    def watch(self, metrics: Mapping[str, float]) -> list[str]:
        """What this step's metrics newly show; SFT has none of the rejected responses."""
        self._chosen.append(metrics["logps/chosen"])
        self._rejected.append(metrics.get("logps/rejected", math.nan))
        self._margins.append(metrics.get("rewards/margins", math.nan))
        self._accuracies.append(metrics.get("rewards/accuracies", math.nan))
        if len(self._chosen) < 2 * _WINDOW:
            return []
        signs = {"fall": self._fallen(), "pushed": self._pushed(), "won": self._won()}
        fresh = {sign: text for sign, text in signs.items() if text and sign not in self._said}
        self._said |= fresh.keys()
        return list(fresh.values())

    def _fallen(self) -> str:
        first, now = _ends(self._chosen)
        if first - now < _FALL:
            return ""
        return (
            f"the chosen responses' log-prob fell from {first:.2f} to {now:.2f} nats a token: the "
            "policy is leaving its own language, and repetition comes next. Lower learning_rate "
            "first, then gamma_beta_ratio or beta; a likelihood term (sft_weight) holds it back"
        )

    def _pushed(self) -> str:
        (chosen, chosen_now), (first, now) = _ends(self._chosen), _ends(self._rejected)
        if not (first - now >= _REJECTED_FALL and chosen_now < chosen):
            return ""
        before, margin = _ends(self._margins)
        return (
            f"the margin went from {before:.2f} to {margin:.2f} by making both responses less "
            f"likely: the rejected ones fell from {first:.2f} to {now:.2f} nats a token. Lower "
            "gamma_beta_ratio or learning_rate, or add a likelihood term (sft_weight)"
        )

    def _won(self) -> str:
        if any(share != 1 for share in self._accuracies[-_WINDOW:]):
            return ""
        return (
            f"every pair of the last {_WINDOW} steps is ranked right: there is little left to "
            "learn here but to be longer or stranger. Stop, take fresh prompts for another round, "
            "or lower learning_rate or epochs"
        )


def repetition_sign(before: float, after: float) -> str:
    """What a round did to the repetition in sampled answers, if it is a sign of collapse.

    Args:
        before: mean share of repeated 4-grams in the answers of the policy that it began with.
        after: the same of the policy that it made, on the same prompts.
    """
    if after - before < _REPETITION_RISE:
        return ""
    return (
        f"repeated 4-grams in sampled answers rose from {before:.1%} to {after:.1%}: the policy "
        "has begun to collapse. Go back to the round before, lower training.learning_rate (1e-5 "
        "is known to end so), then beta or gamma_beta_ratio; fewer epochs help too"
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Means of the first and the last steps."""
    return mean(values[:_WINDOW]), mean(values[-_WINDOW:])
