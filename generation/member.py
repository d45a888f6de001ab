"""One worker of the crew, as the crew sees it."""

from collections import deque

from contracts.site import Site
from contracts.workers import Worker
from generation.engines import Batch, Job
from generation.requests import Outcome
from generation.worker import pack_batches, pack_job, work

# A message brings at least this share of what a worker takes. One for each finished sample woke
# a thread beside the engine's so often that sampling was 4 % slower.
_SHARE = 8


class Member(Worker):
    """A process, what it holds, and what it is suspected of."""

    def __init__(self, site: Site, job: Job, number: int) -> None:
        self.suspects: deque[list[Batch]] = deque()
        """Groups of batches one of which crashed the engine; each runs alone."""
        patience = job.config.engine.resources.hang_timeout
        super().__init__(site, number, work, pack_job(job), patience)

    def begin(self) -> None:
        """Start the process, with nothing in flight."""
        self._in_flight: dict[str, Batch] = {}
        self.load = 0
        self._outbox: list[Batch] = []
        self._alone = False
        super().begin()

    @property
    def capacity(self) -> int:
        """Requests it takes at once; 0 before it was ever ready."""
        return self.about or 0

    @property
    def busy(self) -> bool:
        """As `Worker.busy`."""
        return bool(self._in_flight)

    @property
    def hungry(self) -> bool:
        """Whether there is room for enough requests to be worth a message."""
        return self.room >= max(1, self.capacity // _SHARE)

    @property
    def room(self) -> int:
        """Requests it may be given off the shared list."""
        if not self.ready or self.suspects or (self._alone and self._in_flight):
            return 0
        return self.capacity - self.load

    def take_suspects(self) -> None:
        """Take the next group that must run alone, once nothing else is in flight."""
        if self.ready and self.suspects and not self._in_flight:
            self._alone = True
            for batch in self.suspects.popleft():
                self.put(batch)
        elif not self._in_flight:
            self._alone = False

    def put(self, batch: Batch) -> None:
        """Hold a batch for it, to go out at the next `send_out`."""
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

    def lose(self) -> tuple[list[Batch], bool]:
        """The batches it held when it died, and whether they ran alone."""
        lost, self._in_flight, self.load = list(self._in_flight.values()), {}, 0
        return lost, self._alone
