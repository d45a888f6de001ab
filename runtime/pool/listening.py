"""What a pool's workers say, and which of them are silent for too long."""

import time
from collections.abc import Sequence
from typing import Generic, TypeVar

from contracts.errors import UserError
from runtime.pool.messages import WorkerMessage
from runtime.pool.wire import Wire
from runtime.pool.worker import WorkerHandle

# Silence is counted in slices of listening, so that a starter that was itself stopped, or busy
# elsewhere, takes nobody for hung. A thousand workers speak a thousand times a second: to count
# each time took as long as all else.
_SLICES = 20
_LONGEST_SLICE = 1.0

W = TypeVar("W", bound=WorkerHandle)


class Listener(Generic[W]):
    """Listens to the workers of one pool."""

    def __init__(self) -> None:
        self._uncounted = 0.0
        """Seconds of listening since silence was last counted."""
        self._heard: set[Wire] = set()
        """Who has spoken in them."""

    def poll(self, workers: Sequence[W]) -> list[tuple[W, WorkerMessage | None]]:
        """Wait until a worker speaks: each message of its work; None where a worker has ended.

        Raises:
            UserError, OnPolicyError: a worker's own.
        """
        by_wire = {worker.wire: worker for worker in workers}
        patience = min([one.least_patience for one in workers])
        longest = patience / _SLICES if patience < float("inf") else None
        started = time.monotonic()
        speaking = workers[0].wait([*by_wire], longest)
        listened = time.monotonic() - started
        self._heard.update(speaking)
        if longest:
            self._uncounted += min(listened, longest)
            if self._uncounted >= min(longest, _LONGEST_SLICE):
                self._count(workers)
        heard = [(by_wire[wire], by_wire[wire].receive()) for wire in speaking]
        for worker, _ in heard:
            if worker.refused:
                _refuse_alike(worker, workers)
        return [(worker, message) for worker, message in heard if message != {}]

    def _count(self, workers: Sequence[W]) -> None:
        for worker in workers:
            if worker.wire not in self._heard:
                worker.note_silence(self._uncounted)
        self._uncounted = 0.0
        self._heard.clear()


def _refuse_alike(refused: WorkerHandle, workers: Sequence[WorkerHandle]) -> None:
    """What one cannot load others can: then it is where that one runs, e.g. another kind of GPU on
    a node that has come in mid-stage, and no reason for all to stop.

    Raises:
        UserError: none of the others has ever been ready.
    """
    if all(worker.about is None for worker in workers if worker is not refused):
        raise UserError(refused.refused)
