"""Worker processes as their starter sees them: begun, listened to, and begun anew.

Whether a death was a worker's own doing decides what becomes of its work: killed from outside
(SIGKILL, SIGTERM), it says nothing against it; a crash or a hang does.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contracts.errors import OnPolicyError, UserError
from runtime.pool.messages import WorkerMessage, pack, unpack
from runtime.pool.placement import Places
from runtime.pool.wire import Wire
from runtime.pool.worker_main import Work

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """Seconds of silence after which a worker is taken for hung; None waits for ever."""

    working: float | None
    loading: float | None = None


@dataclass(frozen=True)
class Death:
    """How a worker ended."""

    reason: str
    from_outside: bool
    """Killed (SIGKILL, SIGTERM), which says nothing against its work."""
    loading: bool
    """Before it was ready."""
    hung: bool
    lost: bool = False
    """With the node that it ran on, which may take many at once."""
    refused: bool = False
    """By its place, so that there never was a process; or by itself as it loaded."""
    told: bool = False
    """By itself, of what it worked at."""


class WorkerHandle(ABC):
    """One process at the other end of a wire."""

    def __init__(
        self,
        placement: Places,
        number: int,
        work: Work,
        job: WorkerMessage,
        patience: Patience,
        loads: str,
    ) -> None:
        """
        Args:
            job: its first message.
            loads: what it loads before it is ready, for its messages.
        """
        self.number = number
        self.loads = loads
        self.about: Any = None
        """What it said when it was first ready."""
        self.proven = True
        """Whether it has done something since it last crashed."""
        self.sound = False
        """The same, where it has done anything at all: what crashes it may be to blame."""
        self.refuted = 0
        """Crashes in a row whose work was then done by another worker."""
        self._patience = patience
        limits = patience.working, patience.loading
        self.least_patience = min([limit for limit in limits if limit], default=math.inf)
        """Seconds of silence after which it may be taken for hung in any state."""
        self._placement = placement
        self._work = work
        self._job = job
        self.begin()

    def __str__(self) -> str:
        return f"worker {self.number}" + (f" ({self.wire.place})" if self.wire.place else "")

    @property
    def patience(self) -> float | None:
        """Seconds that the worker may be silent in its present state."""
        return self._patience.working if self.ready else self._patience.loading

    @property
    @abstractmethod
    def busy(self) -> bool:
        """Whether it has work, so that its silence means something."""

    def begin(self) -> None:
        """Start the process; it is ready when its model is loaded."""
        self.wire = self._placement.start(self.number, self._work, self._patience.working)
        self.ready = self._hung = False
        self._silent = 0.0
        self._last_words: str | None = None
        self.refused: str | None = None
        """The user's mistake that it has met as it loaded."""
        self.send(job=self._job)

    def send(self, **message: Any) -> None:
        """Send a message; to a dead worker it is lost, and the wire's end says so."""
        try:
            self.wire.send(pack(message))
        except BlockingIOError:
            self._give_up()

    def receive(self) -> WorkerMessage | None:
        """The worker's message: None if it has ended, empty if it is not about its work.

        Raises:
            UserError, OnPolicyError: the worker's own.
        """
        self._silent = 0.0
        try:
            message = unpack(self.wire.receive())
        except EOFError:
            return None
        except BlockingIOError:
            self._give_up()
            return None
        match message:
            case {"ready": about}:
                self.ready, self.about = True, about
            case {"refused": reason} if not self.ready:
                self.refused = reason
            case {"refused": reason}:
                raise UserError(reason)
            case {"failed": reason}:
                raise OnPolicyError(reason)
            case {"crash": reason}:
                self._last_words = reason
            case {"alive": _}:
                pass
            case _:
                return message
        return {}

    def wait(self, wires: Sequence[Wire], seconds: float | None) -> list[Wire]:
        """Wait until some of this worker's pool have something to say; their wires."""
        return self._placement.wait(wires, seconds)

    def worked(self) -> None:
        """The worker finished a piece of work."""
        self.proven, self.sound, self.refuted = True, True, 0

    def note_silence(self, seconds: float) -> None:
        """End the worker if it has been silent for too long."""
        if not self.wire.begun or (self.ready and not self.busy):
            self._silent = 0.0
            return
        self._silent += seconds
        if self.patience and self._silent >= self.patience:
            self._give_up()

    def reap(self) -> Death:
        """Clean up after its end, and say how it ended."""
        ending = self.wire.reap()
        words = self._last_words or self.refused
        from_outside = words is None and ending.from_outside
        reason = words or ending.reason
        lost = from_outside and bool(ending.lost)
        refused = self._last_words is None and bool(self.refused or ending.refused)
        told = self._last_words is not None and not self._hung
        return Death(reason, from_outside, not self.ready, self._hung, lost, refused, told)

    def end(self) -> None:
        """End the process and what it started."""
        self.wire.end()

    def _give_up(self) -> None:
        """End a worker that hangs; the wire's end comes after it."""
        silence = f"silent for {self.patience:g} s"
        if not self.ready:
            silence += f" while it loads {self.loads}; resources.load_timeout allows for more"
        self._last_words = self._last_words or f"hung: {silence}"
        self._hung = True
        log.error("%s %s", self, self._last_words)
        self.wire.kill()
