"""Signs of a collapsing policy in a run's metrics, each said once with the knob to turn. Pure."""

from collections.abc import Mapping
from statistics import mean

_WINDOW = 5
# e ** -1.5: tokens of the chosen responses have become 4.5 times less likely.
_FALL = 1.5


class CollapseGuard:
    """Watches a run step by step."""

    def __init__(self) -> None:
        self._chosen: list[float] = []
        self._accuracies: list[float] = []
        self._said: set[str] = set()

    def watch(self, metrics: Mapping[str, float]) -> list[str]:
        """What this step's metrics newly show."""
        self._chosen.append(metrics["logps/chosen"])
        self._accuracies.append(metrics["rewards/accuracies"])
        if len(self._chosen) < 2 * _WINDOW:
            return []
        found = {"fall": self._fallen(), "won": self._won()}
        fresh = {sign: text for sign, text in found.items() if text and sign not in self._said}
        self._said |= fresh.keys()
        return list(fresh.values())

    def _fallen(self) -> str:
        first, now = mean(self._chosen[:_WINDOW]), mean(self._chosen[-_WINDOW:])
        if first - now < _FALL:
            return ""
        return (
            f"the chosen responses' log-prob fell from {first:.2f} to {now:.2f} nats a token: the "
            "policy is leaving its own language, and repetition comes next. Lower learning_rate "
            "first, then gamma_beta_ratio or beta; a likelihood term (sft_weight) holds it back"
        )

    def _won(self) -> str:
        if min(self._accuracies[-_WINDOW:]) < 1:
            return ""
        return (
            f"every pair of the last {_WINDOW} steps is ranked right: there is little left to "
            "learn here but to be longer or stranger. Stop, take fresh prompts for another round, "
            "or lower learning_rate or epochs"
        )
