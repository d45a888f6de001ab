"""The worker pool: one process per group of GPUs, fed from one shared queue, behind the protocol
of an engine.

A worker that dies gives its batches back. Killed from outside (SIGKILL, SIGTERM), it says
nothing against them. Where the engine itself crashed or hung, one of the requests in flight may
be why, or the worker: they run alone on another worker, where there is one, until they have
crashed two of which one had done other work, or all there are. Then they are halved, each half
alone, until the one is found that crashes workers by itself. It becomes a failure, the others go
on. A worker whose crashes no other repeats is left out; where all crash and nothing is done in
between, the stage ends.
"""

import logging
from collections import Counter, deque
from dataclasses import replace
from typing import Any

from generation.engines import Batch, Job
from generation.engines.requests import Failure, Outcome, Sample
from generation.workers.handle import SamplingWorker
from generation.workers.suspects import Suspects
from runtime.pool.deaths import Roster
from runtime.pool.placement import Placement
from runtime.pool.worker import poll

log = logging.getLogger(__name__)

_TRIES = 2


class WorkerPool:
    """Several engines, each in a process of its own, used as one."""

    def __init__(self, placement: Placement, job: Job, batch: int) -> None:
        """Start the workers and wait for the first that is ready.

        Raises:
            UserError: an engine is not installed, or the model cannot be loaded.
            OnPolicyError: no worker lives long enough to be ready.
        """
        self.batch = batch
        self._queue: deque[Batch] = deque()
        self._suspects: deque[Suspects] = deque()
        self._crashes: Counter[str] = Counter()
        self._roster: Roster[SamplingWorker] = Roster("sampling", "sample")
        try:
            for number in range(placement.workers):
                self._workers.append(SamplingWorker(placement, job, number))
            while not self.capacity:
                self._hear()
        except BaseException:
            self.close()
            raise

    @property
    def capacity(self) -> int:
        """Requests to keep in flight, at all workers that were ever ready."""
        return sum(worker.capacity for worker in self._workers)

    def add(self, requests: Batch) -> None:
        """Put a batch on the shared queue."""
        self._queue.append(requests)

    def step(self) -> list[Outcome]:
        """Hand out work and wait until a worker has something to say."""
        self._hold()
        self._try_suspects()
        self._hand_out()
        return self._hear()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.end()

    @property
    def _workers(self) -> list[SamplingWorker]:
        return self._roster.workers

    def _hold(self) -> None:
        """A worker that crashed waits until others have tried what it crashed with."""
        tried = [worker.trial for worker in self._workers if worker.trial]
        accused = {number for group in [*self._suspects, *tried] for number in group.crashed}
        for worker in self._workers:
            worker.held = worker.number in accused

    def _try_suspects(self) -> None:
        """Each group alone, on a worker that it has not crashed, once that has nothing else."""
        taken: set[int] = set()
        for group in list(self._suspects):
            fit = self._roster.others(group.crashed) or self._workers
            free = [m for m in fit if m.ready and not m.trial and m.number not in taken]
            if not free:
                continue
            worker = min(free, key=lambda one: (not one.proven, one.load))
            taken.add(worker.number)
            if worker.busy:
                worker.held = True
            else:
                self._suspects.remove(group)
                worker.try_alone(group)

    def _hand_out(self) -> None:
        """The list, to whoever has least, prompt by prompt."""
        hungry = [worker for worker in self._workers if worker.hungry]
        while self._queue:
            free = [worker for worker in hungry if worker.room > 0]
            if not free:
                break
            worker = min(free, key=lambda one: one.load)
            prompt = self._queue[0][0].prompt_id
            while self._queue and worker.room > 0 and self._queue[0][0].prompt_id == prompt:
                worker.put(self._queue.popleft())
        for worker in self._workers:
            worker.send_out()

    def _hear(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for worker, message in poll(self._workers):
            if worker not in self._workers:
                continue  # left out since it spoke
            if message is None:
                outcomes += self._replace(worker)
                continue
            outcomes += [worker.finish(_outcome(fields)) for fields in message["outcomes"]]
            self._roster.note_done(worker)
            if worker.trial and not worker.busy:
                self._clear(worker, worker.trial)
        return outcomes

    def _clear(self, worker: SamplingWorker, group: Suspects) -> None:
        """What crashed other workers is done: they were it themselves."""
        worker.trial = None
        for broken in self._roster.refute(group.crashed - {worker.number}):
            self._give_back(*broken.take_back())
            broken.end()
            why = "crashes with requests that others answer, and is taken for broken"
            self._roster.leave_out(broken, why)

    def _replace(self, worker: SamplingWorker) -> list[Failure]:
        """Restart a dead worker and requeue its batches; the requests that failed for good."""
        death = worker.reap()
        lost, trial = worker.take_back()
        held = sum(map(len, lost))
        log.warning("%s ended (%s) with %d requests", worker, death.reason, held)
        failures = []
        if death.from_outside:
            self._give_back(lost, trial)
        elif lost:
            failures = self._suspect(worker, lost, trial, death.reason)
        self._roster.note_death(worker, death, suspects=0 if death.from_outside else held)
        return failures

    def _give_back(self, lost: list[Batch], trial: Suspects | None) -> None:
        if not lost:
            return
        if trial:
            self._suspects.appendleft(replace(trial, batches=lost))
        else:
            self._queue.extendleft(reversed(lost))

    def _suspect(
        self, worker: SamplingWorker, lost: list[Batch], trial: Suspects | None, reason: str
    ) -> list[Failure]:
        """Queue what was in flight to be tried again, or name the one request that it was."""
        for batch in lost:
            self._crashes.update(request.response_id for request in batch)
        before = trial or Suspects(lost)
        crashed, sound = before.crashed | {worker.number}, before.crashed_sound or worker.sound
        group = Suspects(lost, crashed, sound)
        convicted = sound and len(crashed) >= _TRIES
        if self._roster.others(crashed) and not convicted:
            self._suspects.appendleft(group)
        elif group.requests > 1:
            self._suspects.extendleft(reversed(group.halves()))
        elif self._crashes[group.first] < _TRIES:
            self._suspects.appendleft(group)
        else:
            log.error("request %s crashes the engine: %s", group.first, reason)
            return [Failure(group.first, reason)]
        return []


def _outcome(fields: dict[str, Any]) -> Outcome:
    return Failure(**fields) if "error" in fields else Sample(**fields)
