"""What becomes of workers that die: begun anew, left out, or the end of the stage.

A worker that dies as it loads, twice for the same reason, would do so a third time. One whose
crashes other workers do not repeat, with the same work, is broken itself: its GPU, mostly.
"""

import logging
from typing import Generic, TypeVar

from contracts.errors import OnPolicyError
from runtime.pool.worker import Death, WorkerHandle

log = logging.getLogger(__name__)

# Deaths without anything done between them, when something else than the work is wrong.
_MOST_DEATHS = 10
# One crash that nobody repeats may be chance.
_MOST_REFUTED = 2
_OF_MEMORY = ("SIGKILL", "out of memory", "MemoryError", "Cannot allocate memory")

W = TypeVar("W", bound=WorkerHandle)


class Roster(Generic[W]):
    """The workers that are left."""

    def __init__(self, kind: str, unit: str) -> None:
        """
        Args:
            kind: what they do, e.g. `sampling`.
            unit: what they make, e.g. `sample`.
        """
        self.workers: list[W] = []
        self._kind = kind
        self._unit = unit
        self._deaths = 0
        self._died_loading: dict[int, str] = {}

    def note_done(self, worker: W) -> None:
        """It did something."""
        worker.worked()
        self._deaths = 0

    def note_death(self, worker: W, death: Death, blameless: bool) -> None:
        """Begin a worker anew that has ended, or leave it out.

        Args:
            blameless: nothing that it worked on can be why.

        Raises:
            OnPolicyError: the last one cannot load, or there were too many deaths.
        """
        before = self._died_loading.pop(worker.number, None)
        if death.loading and not death.from_outside:
            if death.hung or before == death.reason:
                return self.leave_out(worker, f"cannot load {worker.loads}: {death.reason}")
            self._died_loading[worker.number] = death.reason
        if blameless:
            self._count(death.reason)
        else:
            worker.proven = False
        worker.begin()

    def others(self, crashed: frozenset[int]) -> list[W]:
        """Those that some work has not crashed yet."""
        return [worker for worker in self.workers if worker.number not in crashed]

    def refute(self, crashed: frozenset[int]) -> list[W]:
        """Another worker did what crashed these; those among them that are to be left out."""
        found = [worker for worker in self.workers if worker.number in crashed]
        for worker in found:
            worker.refuted += 1
        return [one for one in found if not one.proven and one.refuted >= _MOST_REFUTED]

    def leave_out(self, worker: W, why: str) -> None:
        """Go on without a worker.

        Raises:
            OnPolicyError: it is the last.
        """
        if len(self.workers) == 1:
            raise OnPolicyError(
                f"the {self._kind} stage stops: {worker} {why}. What is finished is kept: run the "
                "same command again when the cause is gone"
            )
        self.workers.remove(worker)
        log.error("%s %s; the other %d go on without it", worker, why, len(self.workers))

    def _count(self, reason: str) -> None:
        self._deaths += 1
        if self._deaths >= _MOST_DEATHS:
            hint = "; is there too little memory?" if _is_of_memory(reason) else "."
            raise OnPolicyError(
                f"the {self._kind} workers ended {_MOST_DEATHS} times in a row without one "
                f"{self._unit} ({reason}){hint} The same command goes on from here"
            )


def _is_of_memory(reason: str) -> bool:
    return any(sign in reason for sign in _OF_MEMORY)
