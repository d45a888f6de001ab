"""What becomes of workers that die: begun anew, left out, or the end of the stage.

A worker that dies as it loads, twice for the same reason, would do so a third time. One whose
crashes other workers do not repeat, with the same work, is broken itself: its GPU, mostly.
"""

import logging
import math
from collections import Counter
from collections.abc import Mapping
from typing import Generic, TypeVar

from contracts.errors import OnPolicyError
from runtime.pool.worker import Death, WorkerHandle
from runtime.progress import announce_spread

log = logging.getLogger(__name__)

# Deaths without anything done between them, when something else than the work is wrong; crashes
# beyond what it takes to find one request among those held (`_most_crashes`).
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
        self._crashes = 0
        self._most_held = 1
        self._died_loading: dict[int, str] = {}
        self._refused: set[int] = set()
        self._done_on: Counter[str] = Counter()
        announce_spread(self.spread)

    def note_done(self, worker: W) -> None:
        """The worker finished a piece of work."""
        worker.worked()
        self._done_on[worker.wire.node] += 1
        self._deaths = self._crashes = 0
        self._most_held = 1
        self._refused.discard(worker.number)

    def note_death(self, worker: W, death: Death, suspects: int) -> None:
        """Restart a worker that has ended, or leave it out.

        What is lost with its node, or refused by it, is not counted: a node may take more workers
        with it than may die in a row.

        Args:
            suspects: units of work that may have crashed it; 0 if none can have.

        Raises:
            OnPolicyError: the last one cannot load, or there were too many deaths or crashes.
        """
        if death.lost:
            return worker.begin()
        if death.refused:
            return self._note_refusal(worker, death.reason)
        before = self._died_loading.pop(worker.number, None)
        if death.loading and not death.from_outside:
            if death.hung or before == death.reason:
                return self.leave_out(worker, f"cannot load {worker.loads}: {death.reason}")
            self._died_loading[worker.number] = death.reason
        if suspects:
            worker.proven = worker.sound = False
            self._count_crash(death.reason, suspects)
        else:
            self._count(death.reason)
        worker.begin()

    def spread(self) -> tuple[Mapping[str, int], Mapping[str, float]]:
        """Ready workers by the node of a cluster that they run on, and each node's share of what
        was done; both empty on this machine."""
        workers = Counter(one.wire.node for one in self.workers if one.ready and one.wire.node)
        done = {node: count for node, count in sorted(self._done_on.items()) if node}
        every = sum(done.values())
        shares = {node: round(count / every, 4) for node, count in done.items()}
        return dict(sorted(workers.items())), shares

    def others(self, crashed: frozenset[int]) -> list[W]:
        """The workers that are not among the crashed ones."""
        return [worker for worker in self.workers if worker.number not in crashed]

    def refute(self, crashed: frozenset[int]) -> list[W]:
        """Note that another worker did the work that crashed these; which of them to leave out."""
        cleared = [worker for worker in self.workers if worker.number in crashed]
        for worker in cleared:
            worker.refuted += 1
        return [one for one in cleared if not one.proven and one.refuted >= _MOST_REFUTED]

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

    def _note_refusal(self, worker: W, why: str) -> None:
        """A second try, for a download may fail by chance, and Ray may choose another node."""
        if worker.number in self._refused:
            return self.leave_out(worker, f"cannot begin: {why}")
        self._refused.add(worker.number)
        log.warning("%s cannot begin, and is tried once more: %s", worker, why)
        worker.begin()

    def _count(self, reason: str) -> None:
        self._deaths += 1
        if self._deaths >= _MOST_DEATHS:
            hint = "; is there too little memory?" if _is_of_memory(reason) else "."
            raise OnPolicyError(
                f"the {self._kind} workers ended {_MOST_DEATHS} times in a row without one "
                f"{self._unit} ({reason}){hint} The same command goes on from here"
            )

    def _count_crash(self, reason: str, suspects: int) -> None:
        self._crashes += 1
        self._most_held = max(self._most_held, suspects)
        if self._crashes > _most_crashes(self._most_held, len(self.workers)):
            raise OnPolicyError(
                f"the {self._kind} workers crashed {self._crashes} times in a row without one "
                f"{self._unit} ({reason}), more often than it takes to find a {self._unit} that "
                "crashes them: the workers are broken, their GPU or driver mostly. What is "
                "finished is kept: run the same command again when the cause is gone"
            )


def _most_crashes(held: int, workers: int) -> int:
    """Crashes in a row that a few bad requests among `held` may cost: each worker may crash once
    by itself, and a bisection crashes twice at each halving where it halves the wrong half too."""
    return _MOST_DEATHS + workers + math.ceil(2 * math.log2(held))


def _is_of_memory(reason: str) -> bool:
    return any(sign in reason for sign in _OF_MEMORY)
