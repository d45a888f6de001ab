"""The border between a pool and a worker, wherever it runs: bytes both ways, and its end."""

import signal
from dataclasses import dataclass
from typing import Protocol

_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)


@dataclass(frozen=True)
class Ending:
    """How a worker's process ended."""

    code: int | None
    """Its exit code, negative for a signal; None where nobody saw it."""
    lost: str = ""
    """What was lost with it, and why, where that was more than the worker: its node."""
    refused: str = ""
    """Why there never was a process."""

    @property
    def reason(self) -> str:
        """How it ended, in words."""
        code = self.code or 0
        killed = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return self.refused or self.lost or killed

    @property
    def from_outside(self) -> bool:
        """Whether it was killed (SIGKILL, SIGTERM), or lost, which says nothing of its work."""
        return bool(self.lost) or (not self.refused and self.code in _FROM_OUTSIDE)


class Wire(Protocol):
    """A worker's process and the line to it."""

    def __hash__(self) -> int:
        """By identity."""

    @property
    def place(self) -> str:
        """Where it runs, e.g. `GPU 3`; empty where that goes without saying."""

    @property
    def node(self) -> str:
        """The node of a cluster that it runs on; empty on this machine, and before it runs."""

    @property
    def begun(self) -> bool:
        """Whether there is a process yet: until then its silence means nothing."""

    def send(self, data: bytes) -> None:
        """Send a message; to a worker that has ended it is lost.

        Raises:
            BlockingIOError: it has stopped reading.
        """

    def receive(self) -> bytes:
        """The next message.

        Raises:
            EOFError: it has ended.
            BlockingIOError: it stopped in the middle of a message.
        """

    def kill(self) -> None:
        """End it at once, with all that it started; the wire's end comes after it."""

    def reap(self) -> Ending:
        """Clean up after its end, and say how it ended."""

    def end(self) -> None:
        """End it and what it started; no other worker takes its place."""
