"""One worker of the crew, as the crew sees it."""

import multiprocessing
import signal
from collections import deque
from typing import Any

from generation.engines import Batch, Job
from generation.requests import Outcome
from generation.site import Site
from generation.worker import pack_batches, pack_job, receive, send, serve

_GRACE_SECONDS = 5.0


class Member:
    """A process, what it holds, and what it is suspected of."""

    def __init__(self, site: Site, job: Job, number: int) -> None:
        self.number = number
        self.capacity = 0
        """Requests it takes at once; 0 before it was ever ready."""
        self.suspects: deque[list[Batch]] = deque()
        """Groups of batches one of which crashed the engine; each runs alone."""
        self._site = site
        self._job = pack_job(job)
        self.begin()

    def begin(self) -> None:
        """Start the process; `ready` comes when its model is loaded."""
        context: Any = multiprocessing.get_context(self._site.start_method)
        self.pipe, theirs = context.Pipe()
        environment = self._site.environment(self.number)
        self._process = context.Process(target=serve, args=(theirs, environment), daemon=True)
        self._process.start()
        theirs.close()
        self.ready = False
        self.last_words: str | None = None
        self._in_flight: dict[str, Batch] = {}
        self.load = 0
        self._outbox: list[Batch] = []
        self._alone = False
        self._try_send(job=self._job)

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
        """Hold a batch for it, to go out at the next `send`."""
        self._in_flight[batch[0].response_id] = batch
        self.load += len(batch)
        self._outbox.append(batch)

    def send(self) -> None:
        """Send what was put."""
        if self._outbox:
            self._try_send(batches=pack_batches(self._outbox))
            self._outbox = []

    def receive(self) -> dict[str, Any]:
        """Its next message.

        Raises:
            EOFError: it is dead.
        """
        return receive(self.pipe)

    def finish(self, outcome: Outcome) -> Outcome:
        """Note that a request is done. A batch's outcomes come in one message."""
        self.load -= len(self._in_flight.pop(outcome.response_id, ()))
        return outcome

    def bury(self) -> tuple[int, str]:
        """Its exit code, and why it died."""
        self.pipe.close()
        self._process.join(_GRACE_SECONDS)
        code = self._process.exitcode or 0
        if code < 0:
            return code, self.last_words or f"killed by {signal.Signals(-code).name}"
        return code, self.last_words or f"exit code {code}"

    def lose(self) -> tuple[list[Batch], bool]:
        """The batches it held when it died, and whether they ran alone."""
        lost, self._in_flight, self.load = list(self._in_flight.values()), {}, 0
        return lost, self._alone

    def end(self) -> None:
        """End the process."""
        self.pipe.close()
        self._process.terminate()
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()

    def _try_send(self, **message: Any) -> None:
        try:
            send(self.pipe, **message)
        except OSError:
            return  # it is dead: the pipe's end of file will say so
