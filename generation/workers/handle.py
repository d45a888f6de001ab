"""A sampling worker as its pool sees it."""

from generation.engines import Batch, Job
from generation.engines.requests import Outcome
from generation.workers.main import pack_batches, pack_job, work
from generation.workers.retry import Suspects
from runtime.pool.placement import Places
from runtime.pool.worker import Patience, WorkerHandle

# A message brings at least this share of what a worker takes. One for each finished sample woke
# a thread beside the engine's so often that sampling was 4 % slower.
_SHARE = 8


class SamplingWorker(WorkerHandle):
    """A process, and what it holds."""

    def __init__(self, placement: Places, job: Job, number: int) -> None:
        resources = job.config.engine.resources
        patience = Patience(resources.hang_timeout, resources.load_timeout)
        super().__init__(placement, number, work, pack_job(job), patience, job.policy)

    def begin(self) -> None:
        """Start the process, with nothing in flight."""
        self._in_flight: dict[str, Batch] = {}
        self.load = 0
        self.trial: Suspects | None = None
        """What it runs alone."""
        self.held = False
        """Whether it gets no new work for now."""
        self._outbox: list[Batch] = []
        super().begin()

    @property
    def capacity(self) -> int:
        """Requests it takes at once; 0 before it was ever ready."""
        return self.about or 0

    @property
    def busy(self) -> bool:
        """Whether it has work in flight."""
        return bool(self._in_flight)

    @property
    def hungry(self) -> bool:
        """Whether there is room for enough requests to be worth a message. Asked of each worker at
        each step, a thousand times a second of a thousand: so it is quick."""
        if not self.proven:
            return self.room > 0
        most = self.about or 0
        has_room = self.load + (most // _SHARE or 1) <= most
        return has_room and self.ready and not self.held and not self.trial

    @property
    def room(self) -> int:
        """Requests it may be given off the shared list; after a crash one batch, until it is
        done: a broken one then takes little with it."""
        if not self.ready or self.held or self.trial:
            return 0
        return self.capacity - self.load if self.proven else int(not self.busy)

    def try_alone(self, suspects: Suspects) -> None:
        """Run these, and nothing else until they are done."""
        self.trial = suspects
        for batch in suspects.batches:
            self.put(batch)
        self.send_out()

    def put(self, batch: Batch) -> None:
        """Hold a batch for the worker until the next `send_out`."""
        self._in_flight[batch[0].response_id] = batch
        self.load += len(batch)
        self._outbox.append(batch)

    def send_out(self) -> None:
        """Send what was put."""
        if self._outbox:
            self.send(batches=pack_batches(self._outbox))
            self._outbox = []

    def finish(self, outcome: Outcome) -> Outcome:
        """Note that a request is done. A batch's outcomes come in one message."""
        self.load -= len(self._in_flight.pop(outcome.response_id, ()))
        return outcome

    def take_back(self) -> tuple[list[Batch], Suspects | None]:
        """The batches it held when it died, and what it ran alone, if it did."""
        lost, self._in_flight, self.load = list(self._in_flight.values()), {}, 0
        trial, self.trial = self.trial, None
        return lost, trial
