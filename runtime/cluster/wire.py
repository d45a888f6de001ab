"""Machine 0's end of the wire to a worker on a node: calls to its seat, answers in an inbox.

An answer comes in a thread of Ray's, which must not be kept: it puts the messages into the inbox.
The next call is made when machine 0 has read them and waits for more, and takes along what it has
to say to the worker by then: so there is one call where there would be two, and while machine 0 is
busy the seats gather.
"""

import json
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from contracts.errors import first_line, named_first_line
from runtime.cluster.frames import Call, unpack_answer
from runtime.pool.wire import Ending, Wire

_GRACE_SECONDS = 10.0
_KILLED = Ending(-signal.SIGKILL)
# Between a seat's answers. A worker with short samples says something every few milliseconds, and
# each call takes a millisecond of CPU time here and two there. 2,048 of the demo's samples took
# 0.24 CPU seconds here, as from the local pool, and 0.29 where this was 0.05. Workers hold twice
# what they work on, so that none waits.
_PAUSE_SECONDS = 0.1
# To all seats, so that 1,000 workers take no more of this process than 50. With one for each of
# their 1,085 responses/s calls took most of the driver's time, and of that of the seats' machine.
_CALLS_A_SECOND = 500
# A lost node takes with it what its seats had not told.
_LONGEST_PAUSE = 2.0
# A worker's beats are to be heard long before it is taken for hung.
_LEAST_PAUSES = 3

log = logging.getLogger(__name__)


class Inbox:
    """What the workers of a pool have said, until it is read."""

    def __init__(self) -> None:
        self.pause = _PAUSE_SECONDS
        """Seconds for which a seat gathers what its worker says."""
        self._news = threading.Condition()
        self._messages: dict[RayWire, deque[bytes | None]] = {}
        self._unheard: set[RayWire] = set()
        """Those whose seat has answered, and is to be called again."""

    def put(self, wire: "RayWire", messages: Sequence[bytes | None]) -> None:
        """Messages of a worker, none when it has just begun; None among them is its end."""
        with self._news:
            if wire.is_dropped:
                return
            if messages:
                self._messages.setdefault(wire, deque()).extend(messages)
                # After that: no second answer, in another of Ray's threads, may overtake them.
                wire.is_heard = False
            self._unheard.add(wire)
            self._news.notify()

    def wait(self, wires: Sequence[Wire], seconds: float | None) -> list[Wire]:
        """Call the seats whose messages are read, and wait until some workers' messages are there;
        their wires."""
        self.pause = min(max(_PAUSE_SECONDS, len(wires) / _CALLS_A_SECOND), _LONGEST_PAUSE)
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            for wire in self._take_unheard():
                wire.listen()
            with self._news:
                left = end and end - time.monotonic()
                came = self._news.wait_for(lambda: self._messages or self._unheard, left)
                if self._messages or not came:
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
            self._unheard.discard(wire)

    def _take_unheard(self) -> "set[RayWire]":
        """Those to be called again: all of whose messages have been read."""
        with self._news:
            read = {wire for wire in self._unheard if wire not in self._messages}
            self._unheard -= read
            return read


class RayWire:
    """A worker in a seat."""

    def __init__(
        self, inbox: Inbox, seat: Any, life: int, spec: str, silence: float | None = None
    ) -> None:
        """
        Args:
            seat: the actor's handle.
            life: tells this worker from those that sat there before.
            silence: seconds after which the worker is taken for hung.
        """
        self.begun = False
        self.place, self.node = "not placed yet", ""
        self.seat_is_gone = False
        self.is_dropped = self.is_heard = False
        """Whether the inbox has forgotten it; whether its seat is asked for what it says next."""
        self.asked_at = time.monotonic()
        """When its seat was asked for it."""
        self.refused_at: float | None = None
        """When its seat refused it, in seconds of the monotonic clock."""
        self.lacking: list[str] = []
        """Models' folders that its node lacks and can fetch, once the store has them."""
        self._inbox, self._seat, self._life = inbox, seat, life
        self._longest_pause = silence / _LEAST_PAUSES if silence else _LONGEST_PAUSE
        self._lock = threading.Lock()
        # The seat may be hours away, until Ray has a node for it.
        self._unsent: list[bytes] = []
        self._index = 0
        self._ending: Ending | None = None
        self._spec = spec
        self._hear(seat.start.remote(life, spec), self._started)

    def begin_with(self, needs: Mapping[str, Any]) -> None:
        """Begin it where it waits: the store has by now what its node was lacking."""
        self.lacking = []
        spec = json.dumps(json.loads(self._spec) | {"needs": needs})
        try:
            self._hear(self._seat.start.remote(self._life, spec), self._started)
        except Exception as error:  # noqa: BLE001 - Ray raises many, plain ones too
            self._lose(error)

    def refuse(self, why: str) -> None:
        """End its waiting for what its node lacks: that will not come."""
        self.lacking = []
        self._finish(Ending(None, refused=why))

    def send(self, data: bytes) -> None:
        """Send a message, once there is somebody to send it to."""
        self._unsent.append(data)
        if self.begun and self._ending is None:
            self._call()

    def listen(self) -> None:
        """Have the seat tell what the worker says next, unless it has been asked to."""
        if not self.is_heard and self._ending is None:
            self._call()

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

    def _call(self) -> None:
        """Tell the seat what is unsent. Where Ray has lost the cluster that is the worker's end."""
        pause = min(self._inbox.pause, self._longest_pause)
        frame = Call(self._life, self._index, pause, self._unsent).pack()
        self._index += len(self._unsent)
        self._unsent = []
        try:
            if self.is_heard:
                self._seat.send.remote(frame)
            else:
                self.is_heard = True
                self._hear(self._seat.exchange.remote(frame), self._exchanged)
        except Exception as error:  # noqa: BLE001 - Ray raises many, plain ones too
            self._lose(error)

    def _started(self, future: Future[Any]) -> None:
        if error := future.exception():
            self.seat_is_gone = True
            return self._finish(_before_it_began(error))
        said = json.loads(future.result())
        if refused := said.get("refused"):
            return self._finish(Ending(None, refused=refused))
        if lacking := said.get("lacking"):
            log.info("%s lacks %s until the store has it", said["node"], ", ".join(lacking))
            self.lacking = lacking
            return
        self.place, self.node = said["place"], said["node"]
        log.info("a worker runs on %s", self.place)
        self.begun = True
        self._inbox.put(self, [])

    def _hear(self, answer: Any, then: Callable[[Future[Any]], None]) -> None:
        """Let `then` have an answer, in Ray's thread, to which nothing may be raised."""

        def heard(future: Future[Any]) -> None:
            try:
                then(future)
            except Exception as error:  # noqa: BLE001 - Ray raises many, plain ones too
                self._lose(error)

        answer.future().add_done_callback(heard)

    def _exchanged(self, future: Future[Any]) -> None:
        if error := future.exception():
            self.seat_is_gone = True
            return self._finish(self._after_it_began(error))
        messages, code = unpack_answer(future.result())
        if code is not None:
            self._finish(Ending(code), messages)
        elif self._ending is None:
            self._inbox.put(self, messages)

    def _lose(self, error: Exception) -> None:
        """It is this worker's end alone: the others may have been luckier."""
        self.seat_is_gone = True
        self._finish(Ending(None, lost=f"{self.place} was lost ({named_first_line(error)})"))

    def _after_it_began(self, error: BaseException) -> Ending:
        """A seat that is unreachable was lost with its node; one that died was killed."""
        return Ending(None, lost=f"{self.place} was lost") if _is_lost(error) else _KILLED

    def _abandon(self) -> None:
        import ray

        if self._ending is None:
            self.seat_is_gone = True
            self._finish(_KILLED)
            ray.kill(self._seat)

    def _finish(self, ending: Ending, messages: Sequence[bytes] = ()) -> None:
        with self._lock:
            if self._ending is not None:
                return
            self._ending = ending
            if ending.refused:
                self.refused_at = time.monotonic()
        self._inbox.put(self, [*messages, None])


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
