"""Requests one of which may be why an engine crashed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from generation.engines import Batch

T = TypeVar("T")


@dataclass(frozen=True)
class Suspects:
    """Batches that run alone, so that a second crash says it was one of them."""

    batches: list[Batch]
    crashed: frozenset[int] = frozenset()
    """Numbers of the workers that they crashed; the next to try them is none of these."""
    crashed_sound: bool = False
    """Whether one of those had done other work since it last crashed, so that it is not likely to
    be broken itself."""

    @property
    def requests(self) -> int:
        """How many they are."""
        return sum(map(len, self.batches))

    @property
    def first(self) -> str:
        """Response id of the first one."""
        return self.batches[0][0].response_id

    def halves(self) -> list["Suspects"]:
        """Two halves, for any worker; batches are cut where there is only one."""
        if len(self.batches) > 1:
            return [Suspects(half) for half in _halves(self.batches)]
        return [Suspects([half]) for half in _halves(self.batches[0])]


def _halves(of: Sequence[T]) -> list[list[T]]:
    middle = len(of) // 2
    return [list(of[:middle]), list(of[middle:])]
