"""The best response against the worst."""

from typing import Literal

from annotation.strategies.base import Places, Ranked, StrategyVariant


class MaxMin(StrategyVariant):
    """The best response against the worst (the recipe)."""

    kind: Literal["max_min"] = "max_min"

    def pairs(self, ranked: Ranked) -> Places:
        """The last place of each prompt is rejected."""
        return Places(ranked.prompts, ranked.chosen, ranked.end - 1)
