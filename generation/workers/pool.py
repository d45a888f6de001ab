"""The worker pool: one process per group of GPUs, fed from one shared queue, behind the protocol
of an engine.

A worker that dies gives its batches back, to be retried (`retry.py`). A worker whose crashes no
other repeats is left out; where all crash and nothing is done in between, the stage ends.
"""

import logging
from heapq import heapify, heappop, heapreplace
from typing import Any

from generation.engines import Batch, Job
from generation.engines.requests import Failure, Outcome, Sample
from generation.workers.handle import SamplingWorker
from generation.workers.retry import RetryQueue, Suspects
from runtime.pool.deaths import Roster
from runtime.pool.listening import Listener
from runtime.pool.placement import Places

log = logging.getLogger(__name__)


class WorkerPool:
    """Several engines, each in a process of its own, used as one."""

    def __init__(self, placement: Places, job: Job, batch: int) -> None:
        """Start the workers and wait for the first that is ready.

        Raises:
            UserError: an engine is not installed, or the model cannot be loaded.
            OnPolicyError: no worker lives long enough to be ready.
        """
        self.batch = batch
        self._placement, self._job = placement, job
        self._begun = 0
        self._waiting = RetryQueue()
        self._roster: Roster[SamplingWorker] = Roster("sampling", "sample")
        self._listener: Listener[SamplingWorker] = Listener()
        try:
            self._begin(placement.workers)
            while not self.capacity:
                self._hear()
        except BaseException:
            self.close()
            raise

    @property
    def capacity(self) -> int:
        """Requests to keep in flight, at all workers that were ever ready."""
        return sum([worker.about or 0 for worker in self._workers])

    def add(self, requests: Batch) -> None:
        """Put a batch on the shared queue."""
        self._waiting.batches.append(requests)

    def step(self) -> list[Outcome]:
        """Hand out work and wait until a worker has something to say."""
        self._begin(self._placement.joined())
        self._hold()
        self._try_suspects()
        self._hand_out()
        return self._hear()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.end()
        self._placement.close()

    def _begin(self, count: int) -> None:
        """Start so many workers, the next numbers."""
        for _ in range(count):
            self._workers.append(SamplingWorker(self._placement, self._job, self._begun))
            self._begun += 1

    @property
    def _workers(self) -> list[SamplingWorker]:
        return self._roster.workers

    def _hold(self) -> None:
        """A worker that crashed waits until others have tried what it crashed with."""
        tried = [worker.trial for worker in self._workers if worker.trial]
        accused = {
            number for group in [*self._waiting.suspects, *tried] for number in group.crashed
        }
        for worker in self._workers:
            worker.held = worker.number in accused

    def _try_suspects(self) -> None:
        """Each group alone, on a worker that it has not crashed, once that has nothing else."""
        taken: set[int] = set()
        for group in list(self._waiting.suspects):
            fit = self._roster.others(group.crashed) or self._workers
            free = [m for m in fit if m.ready and not m.trial and m.number not in taken]
            if not free:
                continue
            worker = min(free, key=lambda one: (not one.proven, one.load))
            taken.add(worker.number)
            if worker.busy:
                worker.held = True
            else:
                self._waiting.suspects.remove(group)
                worker.try_alone(group)

    def _hand_out(self) -> None:
        """The list, to whoever has least, prompt by prompt."""
        batches = self._waiting.batches
        hungry = [
            (worker.load, place, worker)
            for place, worker in enumerate(self._workers if batches else ())
            if worker.hungry
        ]
        heapify(hungry)
        given = [worker for _, _, worker in hungry]
        while batches and hungry:
            _, place, worker = hungry[0]
            prompt = batches[0][0].prompt_id
            # A prompt's samples go to one worker, whose prefix cache then holds the prompt for all
            # of them.
            while batches and worker.room > 0 and batches[0][0].prompt_id == prompt:
                worker.put(batches.popleft())
            if worker.room > 0:
                heapreplace(hungry, (worker.load, place, worker))
            else:
                heappop(hungry)
        for worker in given:
            worker.send_out()

    def _hear(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for worker, message in self._listener.poll(self._workers):
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
            self._waiting.requeue(*broken.take_back())
            broken.end()
            why = "crashes with requests that others answer, and is taken for broken"
            self._roster.leave_out(broken, why)

    def _replace(self, worker: SamplingWorker) -> list[Failure]:
        """Restart a dead worker and requeue its batches; the requests that failed for good."""
        death = worker.reap()
        lost, trial = worker.take_back()
        held = sum(map(len, lost))
        log.warning("%s ended (%s) with %d requests", worker, death.reason, held)
        failures: list[Failure] = []
        if death.from_outside:
            self._waiting.requeue(lost, trial)
        elif lost:
            before = trial or Suspects(lost)
            crashed = before.crashed | {worker.number}
            group = Suspects(lost, crashed, before.crashed_sound or worker.sound)
            failures = self._waiting.retry(group, self._roster.others, death.reason)
        self._roster.note_death(worker, death, suspects=0 if death.from_outside else held)
        return failures


def _outcome(fields: dict[str, Any]) -> Outcome:
    return Failure(**fields) if "error" in fields else Sample(**fields)
