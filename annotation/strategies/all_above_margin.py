"""Every response against every lower one."""

from typing import TYPE_CHECKING, ClassVar, Literal

from annotation.strategies.base import Places, Ranked, Ranking, StrategyVariant

if TYPE_CHECKING:
    import numpy as np


class AllAboveMargin(StrategyVariant):
    """Every response against every lower one: several pairs for each prompt."""

    several: ClassVar[bool] = True
    kind: Literal["all_above_margin"] = "all_above_margin"

    def pairs(self, ranked: Ranked) -> Places:
        """Every response that may be chosen with every one of a lower score."""
        return _all_lower(ranked.ranking, ranked.barred, ranked.prompts)


def _all_lower(ranking: Ranking, barred: "np.ndarray", prompts: "np.ndarray") -> Places:
    """Every response that is not `barred` [U] with every one of a lower score."""
    import numpy as np

    sizes = np.diff(ranking.bounds)
    group = np.repeat(np.arange(len(sizes)), sizes)
    places = np.flatnonzero(~barred & np.isin(group, prompts))
    end = ranking.bounds[1:][group[places]]

    def apart(distance: int) -> "np.ndarray":
        """[2, .]: the places with another of their prompt so far below."""
        upper = places[places + distance < end]
        lower = upper + distance
        return np.stack([upper, lower])[:, ranking.score[lower] < ranking.score[upper]]

    pairs = np.concatenate([apart(d) for d in range(1, max(sizes.max(initial=0), 2))], axis=1)
    upper, lower = pairs[:, np.lexsort((pairs[1], pairs[0]))]
    return Places(group[upper], upper, lower)
