"""Machine 0's end of the wire to a worker on a node: calls to its seat, answers in an inbox.

A call's answer comes in a thread of Ray's, which must not be kept: a thread of ours makes the next
call, so that messages arrive while machine 0 is busy with something else.
"""

import json
import logging
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from contracts.errors import first_line, named_first_line
from runtime.pool.wire import Ending, Wire

_GRACE_SECONDS = 10.0
_KILLED = Ending(-signal.SIGKILL)

log = logging.getLogger(__name__)

Answered = Callable[[Future[Any]], None]


class Inbox:
    """What the workers of a pool have said, until it is read."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._messages: dict[RayWire, deque[bytes | None]] = {}
        self._answers: queue.SimpleQueue[tuple[Answered, Future[Any]] | None]
        self._answers = queue.SimpleQueue()
        threading.Thread(target=self._dispatch, daemon=True).start()

    def call(self, answer: Any, then: Answered) -> None:
        """Let `then` have a call's answer, in a thread of ours."""
        answer.future().add_done_callback(lambda future: self._answers.put((then, future)))

    def put(self, wire: "RayWire", messages: Sequence[bytes | None]) -> None:
        """Messages of a worker; None is its end."""
        with self._news:
            if messages and not wire.is_dropped:
                self._messages.setdefault(wire, deque()).extend(messages)
                self._news.notify()

    def wait(self, wires: Sequence[Wire], seconds: float | None) -> list[Wire]:
        """Wait until some workers' messages are there; their wires."""
        with self._news:
            if not self._messages:
                self._news.wait(seconds)
            return [wire for wire in wires if wire in self._messages]

    def take(self, wire: "RayWire") -> bytes:
        """The worker's next message.

        Raises:
            EOFError: it has ended.
        """
        with self._news:
            messages = self._messages[wire]
            if messages[0] is None:
                raise EOFError
            message = messages.popleft()
            if not messages:
                del self._messages[wire]
            assert message is not None
            return message

    def drop(self, wire: "RayWire") -> None:
        """Forget a worker."""
        with self._news:
            wire.is_dropped = True
            self._messages.pop(wire, None)

    def close(self) -> None:
        """End the thread."""
        self._answers.put(None)

    def _dispatch(self) -> None:
        while answer := self._answers.get():
            then, future = answer
            then(future)


class RayWire:
    """A worker in a seat."""

    def __init__(self, inbox: Inbox, seat: Any, life: int, spec: str) -> None:
        """
        Args:
            seat: the actor's handle.
            life: tells this worker from those that sat there before.
        """
        self.begun = False
        self.place = "not placed yet"
        self.node = ""
        self.seat_is_gone = False
        self.is_dropped = False
        self.asked_at = time.monotonic()
        """When its seat was asked for it."""
        self.refused_at: float | None = None
        """When its seat refused it, in seconds of the monotonic clock."""
        self._inbox, self._seat, self._life = inbox, seat, life
        self._lock = threading.Lock()
        # The seat may be hours away, until Ray has a node for it.
        self._unsent: list[bytes] | None = []
        self._index = 0
        self._ending: Ending | None = None
        self._hear(seat.start.remote(life, spec), self._started)

    def send(self, data: bytes) -> None:
        """Send a message, once there is somebody to send it to."""
        with self._lock:
            if self._unsent is not None:
                self._unsent.append(data)
            else:
                self._send(data)

    @property
    def is_waiting(self) -> bool:
        """Whether there is neither a worker yet, nor a reason why there will be none."""
        return not self.begun and self._ending is None

    def receive(self) -> bytes:
        """The next message."""
        return self._inbox.take(self)

    def kill(self) -> None:
        """Through its seat; where that does not answer, by the seat's end."""
        self.end_process()
        abandon = threading.Timer(_GRACE_SECONDS, self._abandon)
        abandon.daemon = True
        abandon.start()

    def reap(self) -> Ending:
        """How it ended."""
        self._inbox.drop(self)
        return self._ending or _KILLED

    def end(self) -> None:
        """End it; its seat stays, so that nobody else gets its GPUs."""
        self._finish(_KILLED)
        self._inbox.drop(self)
        if not self.seat_is_gone:
            self.end_process()

    def end_process(self) -> Any:
        """Have its seat kill it, and nobody who sits there after it; Ray's reference to that, None
        where Ray has lost the cluster, and with it the seat."""
        try:
            return self._seat.kill.remote(self._life)
        except Exception as error:  # noqa: BLE001 - Ray raises many, plain ones too
            log.warning("%s could not be told to end: %s", self.place, named_first_line(error))
            return None

    def _send(self, data: bytes) -> None:
        self._seat.send.remote(self._life, self._index, data)
        self._index += 1

    def _started(self, future: Future[Any]) -> None:
        if error := future.exception():
            self.seat_is_gone = True
            return self._finish(_before_it_began(error))
        said = json.loads(future.result())
        if refused := said.get("refused"):
            return self._finish(Ending(None, refused=refused))
        self.place, self.node = said["place"], said["node"]
        log.info("a worker runs on %s", self.place)
        with self._lock:
            self.begun = True
            for data in self._unsent or ():
                self._send(data)
            self._unsent = None
        self._listen()

    def _listen(self) -> None:
        self._hear(self._seat.receive.remote(self._life), self._received)

    def _hear(self, answer: Any, then: Answered) -> None:
        """Let `then` have an answer. Where that fails, e.g. since Ray has lost the cluster, it is
        this worker's end: the thread goes on with the others' answers."""

        def heard(future: Future[Any]) -> None:
            try:
                then(future)
            except Exception as error:  # noqa: BLE001 - Ray raises many, plain ones too
                self.seat_is_gone = True
                why = f"{self.place} was lost ({named_first_line(error)})"
                self._finish(Ending(None, lost=why))

        self._inbox.call(answer, heard)

    def _received(self, future: Future[Any]) -> None:
        if error := future.exception():
            self.seat_is_gone = True
            return self._finish(self._after_it_began(error))
        messages, code = future.result()
        if self._ending is None:
            self._inbox.put(self, messages)
        if code is not None:
            self._finish(Ending(code))
        elif self._ending is None:
            self._listen()

    def _after_it_began(self, error: BaseException) -> Ending:
        """A seat that is unreachable was lost with its node; one that died was killed."""
        return Ending(None, lost=f"{self.place} was lost") if _is_lost(error) else _KILLED

    def _abandon(self) -> None:
        import ray

        if self._ending is None:
            self.seat_is_gone = True
            self._finish(_KILLED)
            ray.kill(self._seat)

    def _finish(self, ending: Ending) -> None:
        with self._lock:
            if self._ending is not None:
                return
            self._ending = ending
            if ending.refused:
                self.refused_at = time.monotonic()
        self._inbox.put(self, [None])


def _is_lost(error: BaseException) -> bool:
    """Whether a seat went with its node."""
    from ray.exceptions import ActorUnavailableError

    return isinstance(error, ActorUnavailableError) or "node has died" in str(error)


def _before_it_began(error: BaseException) -> Ending:
    """Lost or killed as later; else what its seat says of why there is none, by the last line of
    Ray's long ones."""
    from ray.exceptions import ActorDiedError

    if _is_lost(error):
        return Ending(None, lost="its node was lost before it began")
    if isinstance(error, ActorDiedError) and not error.actor_init_failed:
        return _KILLED
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return Ending(None, refused=lines[-1] if lines else first_line(error))
