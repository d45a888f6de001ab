"""What a pair strategy sees, and what it answers.

Shapes: P prompts, U usable responses, N pairs. A place is an index into a ranking.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from contracts.config.base import Config

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True)
class Ranking:
    """Usable responses by prompt, best first; the earlier one where scores are equal."""

    order: "np.ndarray"
    """[U], which response."""
    score: "np.ndarray"
    """[U]."""
    bounds: "np.ndarray"
    """[P+1], each prompt's first place, and one past its last."""
    below: "np.ndarray"
    """[U+1], for each place the next one of a lower score or another prompt."""

    def mean_and_deviation(self) -> "tuple[np.ndarray, np.ndarray]":
        """[P] and [P], mean and standard deviation of each prompt's scores; 0 without any."""
        import numpy as np

        sizes = np.diff(self.bounds)
        group = np.repeat(np.arange(len(sizes)), sizes)
        count = sizes.clip(min=1)
        mean = np.bincount(group, self.score, len(sizes)) / count
        squares = np.bincount(group, (self.score - mean[group]) ** 2, len(sizes))
        return mean, np.sqrt(squares / count)


@dataclass(frozen=True)
class Ranked:
    """Prompts of which each has a best response that may be chosen, and a lower one."""

    ranking: Ranking
    prompts: "np.ndarray"
    """[K], which prompts."""
    chosen: "np.ndarray"
    """[K], the place of each one's best response that may be chosen."""
    barred: "np.ndarray"
    """[U], whether a response may not be chosen."""
    prompt_ids: "pa.Array"
    """[K]."""
    seed: int
    """For strategies that draw; what is drawn for a prompt may depend on this and its id alone."""

    @property
    def first(self) -> "np.ndarray":
        """[K], the first place behind the chosen response whose score is lower."""
        return self.ranking.below[self.chosen]

    @property
    def end(self) -> "np.ndarray":
        """[K], one past each prompt's last place."""
        return self.ranking.bounds[1:][self.prompts]


@dataclass(frozen=True)
class Places:
    """Pairs as places in a ranking, the rejected one of a lower score."""

    prompt: "np.ndarray"
    """[N]."""
    chosen: "np.ndarray"
    """[N]."""
    rejected: "np.ndarray"
    """[N]."""


class StrategyVariant(Config, ABC):
    """How pairs are picked."""

    several: ClassVar[bool] = False
    """Whether a prompt may give more than one."""
    kind: str

    @abstractmethod
    def pairs(self, ranked: Ranked) -> Places:
        """The pairs, by prompt; what is picked for one depends on no other prompt."""
