"""WorkerHandle processes as their starter sees them: begun, listened to, and begun anew.

Whether a death was a worker's own doing decides what becomes of its work: killed from outside
(SIGKILL, SIGTERM), it says nothing against it; a crash or a hang does.
"""

import logging
import multiprocessing
import os
import signal
import socket
import struct
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from contracts.errors import OnPolicyError, UserError
from runtime.pool.messages import WorkerMessage, receive, send
from runtime.pool.placement import Placement
from runtime.pool.worker_main import Work, start_worker

log = logging.getLogger(__name__)

_GRACE_SECONDS = 5.0
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)
# Silence is counted in slices of listening, so that a starter that was itself stopped, or busy
# elsewhere, takes nobody for hung.
_SLICES = 20


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


class WorkerHandle(ABC):
    """One process at the other end of a pipe."""

    def __init__(
        self,
        placement: Placement,
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
        self._placement = placement
        self._work = work
        self._job = job
        self.begin()

    def __str__(self) -> str:
        gpus = ",".join(self._placement.gpus[self.number]) if self._placement.gpus else ""
        return f"worker {self.number}" + (f" (GPU {gpus})" if gpus else "")

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
        self.pipe, theirs = multiprocessing.Pipe()
        if self._patience.working:
            _set_timeout(self.pipe, self._patience.working)
        self._process = start_worker(
            self._work, theirs.fileno(), self._placement.environment(self.number)
        )
        theirs.close()
        self.ready = self._hung = False
        self._silent = 0.0
        self._last_words: str | None = None
        self.send(job=self._job)

    def send(self, **message: Any) -> None:
        """Send a message; to a dead worker it is lost, and the pipe's end says so."""
        try:
            send(self.pipe, **message)
        except BlockingIOError:
            self._give_up()
        except OSError:
            return

    def receive(self) -> WorkerMessage | None:
        """Its messages: None if it has ended, empty if none is about its work.

        Raises:
            UserError, OnPolicyError: the worker's own.
        """
        self._silent = 0.0
        try:
            message = receive(self.pipe)
        except EOFError:
            return None
        except BlockingIOError:
            self._give_up()
            return None
        match message:
            case {"ready": about}:
                self.ready, self.about = True, about
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

    def worked(self) -> None:
        """The worker finished a piece of work."""
        self.proven, self.sound, self.refuted = True, True, 0

    def note_silence(self, seconds: float) -> None:
        """End the worker if it has been silent for too long."""
        if self.ready and not self.busy:
            self._silent = 0.0
            return
        self._silent += seconds
        if self.patience and self._silent >= self.patience:
            self._give_up()

    def reap(self) -> Death:
        """Clean up after its end, and say how it ended."""
        self.pipe.close()
        self._kill_group()
        code = self._wait() or 0
        killed = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        from_outside = self._last_words is None and code in _FROM_OUTSIDE
        return Death(self._last_words or killed, from_outside, not self.ready, self._hung)

    def end(self) -> None:
        """End the process and what it started."""
        self.pipe.close()
        self._process.terminate()
        self._wait()
        self._kill_group()

    def _wait(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(_GRACE_SECONDS)
        return None

    def _give_up(self) -> None:
        """End a worker that hangs; the pipe's end comes after it."""
        silence = f"silent for {self.patience:g} s"
        if not self.ready:
            silence += f" while it loads {self.loads}; resources.load_timeout allows for more"
        self._last_words = self._last_words or f"hung: {silence}"
        self._hung = True
        log.error("%s %s", self, self._last_words)
        self._kill_group()

    def _kill_group(self) -> None:
        """By the group, and by its number where it had no time to make one."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()


W = TypeVar("W", bound=WorkerHandle)


def poll(workers: Sequence[W]) -> list[tuple[W, WorkerMessage | None]]:
    """Wait until a worker speaks: each message of its work; None where a worker has ended.

    Raises:
        UserError, OnPolicyError: a worker's own.
    """
    by_pipe: dict[Any, W] = {worker.pipe: worker for worker in workers}
    patience = min((worker.patience for worker in workers if worker.patience), default=None)
    longest = patience / _SLICES if patience else None
    started = time.monotonic()
    speaking = wait(list(by_pipe), longest)
    listened = time.monotonic() - started
    for pipe, worker in by_pipe.items():
        if pipe not in speaking:
            worker.note_silence(min(listened, longest or listened))
    heard = [(by_pipe[pipe], by_pipe[pipe].receive()) for pipe in speaking]
    return [(worker, message) for worker, message in heard if message != {}]


def _set_timeout(pipe: Connection, seconds: float) -> None:
    """Reading and writing raise BlockingIOError where the other side stops in a message."""
    value = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    with socket.socket(fileno=os.dup(pipe.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
