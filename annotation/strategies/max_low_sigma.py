"""The best response against one that is bad, but not the worst of many."""

from typing import Annotated, Literal

from pydantic import Field

from annotation.strategies.base import Places, Ranked, StrategyVariant


class MaxLowSigma(StrategyVariant):
    """The best response against the one nearest to mean - 2 standard deviations
    (arXiv 2502.16825).

    The more samples, the further out lies the worst: there `max_min` gets worse, this does not.
    No score of up to 5 lies further below their mean than 2 standard deviations, so up to n = 5
    it is `max_min`.
    """

    kind: Literal["max_low_sigma"] = "max_low_sigma"
    sigmas: Annotated[float, Field(ge=0)] = 2.0
    """Standard deviations below the mean of the prompt's scores."""

    def pairs(self, ranked: Ranked) -> Places:
        """The place nearest to the target is rejected; of two as near, the one of lower score.

        Scores fall along a prompt's places, so the nearest one is either the last that is not
        below the target or the first that is.
        """
        import numpy as np

        ranking = ranked.ranking
        mean, deviation = ranking.mean_and_deviation()
        target = mean - self.sigmas * deviation
        group = np.repeat(np.arange(len(mean)), np.diff(ranking.bounds))
        # Up to five samples have none below two deviations: there it is max_min.
        above = np.bincount(group, ranking.score >= target[group], len(mean)).astype(np.int64)
        lower = (ranking.bounds[:-1] + above)[ranked.prompts]
        upper = np.clip(lower - 1, ranked.first, ranked.end - 1)
        lower = np.clip(lower, ranked.first, ranked.end - 1)
        targets = target[ranked.prompts]
        nearer = ranking.score[upper] - targets < targets - ranking.score[lower]
        # Clipped to the same side of the target, the two are one place.
        return Places(ranked.prompts, ranked.chosen, np.where(nearer, upper, lower))
