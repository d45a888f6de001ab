"""The best response against the next lower one."""

from typing import Literal

from annotation.strategies.base import Places, Ranked, StrategyVariant


class MaxSecond(StrategyVariant):
    """The best response against the next lower one."""

    kind: Literal["max_second"] = "max_second"

    def pairs(self, ranked: Ranked) -> Places:
        """The first place of a lower score is rejected."""
        return Places(ranked.prompts, ranked.chosen, ranked.first)
