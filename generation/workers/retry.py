"""Where a sample is retried: the batches of a worker that died go back on the queue here.

Killed from outside, the worker says nothing against them: they go to whoever is free. Where its
engine crashed or hung, one of them may be why, so they are retried alone, on another worker where
there is one, then in halves, until the one request is found that crashes workers by itself.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from generation.engines import Batch
from generation.engines.requests import Failure

log = logging.getLogger(__name__)

T = TypeVar("T")

_TRIES = 2
"""Crashes that convict: of one worker it may be the worker, of a second it is the request."""


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
        """Number of requests in all batches."""
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


class RetryQueue:
    """The batches that wait for a worker: new ones, and those to be retried."""

    def __init__(self) -> None:
        self.batches: deque[Batch] = deque()
        """For any worker."""
        self.suspects: deque[Suspects] = deque()
        """To be tried alone."""
        self._crashes: Counter[str] = Counter()

    def requeue(self, lost: list[Batch], trial: Suspects | None) -> None:
        """Put the batches of a worker that was killed from outside, or left out, first in line."""
        if not lost:
            return
        if trial:
            self.suspects.appendleft(replace(trial, batches=lost))
        else:
            self.batches.extendleft(reversed(lost))

    def retry(
        self, group: Suspects, others: Callable[[frozenset[int]], object], reason: str
    ) -> list[Failure]:
        """Queue what a worker crashed with to be tried alone, or name the request that it was.

        Args:
            others: the workers beside those of these numbers, if there are any.
        """
        for batch in group.batches:
            self._crashes.update(request.response_id for request in batch)
        convicted = group.crashed_sound and len(group.crashed) >= _TRIES
        if others(group.crashed) and not convicted:
            self.suspects.appendleft(group)
        elif group.requests > 1:
            self.suspects.extendleft(reversed(group.halves()))
        elif self._crashes[group.first] < _TRIES:
            self.suspects.appendleft(group)
        else:
            log.error("request %s crashes the engine: %s", group.first, reason)
            return [Failure(group.first, reason)]
        return []


def _halves(of: Sequence[T]) -> list[list[T]]:
    middle = len(of) // 2
    return [list(of[:middle]), list(of[middle:])]
