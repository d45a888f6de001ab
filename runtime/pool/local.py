"""A worker as a process of this machine, at the other end of a pipe."""

import multiprocessing
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from runtime.pool.messages import read
from runtime.pool.wire import Ending, Wire
from runtime.pool.worker_main import Work, start_worker

# Between SIGTERM and SIGKILL. Nothing is lost by either: a worker sends what it has finished at
# once, and its starter keeps it.
_GRACE_SECONDS = 5.0


class LocalWire:
    """A process, and our end of its pipe."""

    begun = True
    node = ""

    def __init__(
        self, work: Work, environment: Mapping[str, str], place: str, silence: float | None
    ) -> None:
        """
        Args:
            environment: what it has beyond ours.
            silence: seconds for which it may stop in the middle of a message.
        """
        self.place = place
        self.pipe, theirs = multiprocessing.Pipe()
        if silence:
            _set_timeout(self.pipe, silence)
        self.process = start_worker(work, theirs.fileno(), environment)
        theirs.close()

    def send(self, data: bytes) -> None:
        """Put a message into the pipe."""
        try:
            self.pipe.send_bytes(data)
        except BlockingIOError:
            raise
        except OSError:  # it has ended: the pipe's end says so
            return

    def receive(self) -> bytes:
        """The next message of the pipe."""
        return read(self.pipe)

    def kill(self) -> None:
        """Kill its process group, and the process itself if it had no time to make one."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()

    def reap(self) -> Ending:
        """Kill what is left of its process group, and wait for its end; how it ended."""
        self.pipe.close()
        self.kill()
        return Ending(self._wait())

    def end(self) -> None:
        """Ask it to end, then make it."""
        self.pipe.close()
        self.process.terminate()
        self._wait()
        self.kill()
        self._wait()

    def _wait(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(_GRACE_SECONDS)
        return None


def wait_for(wires: Sequence[Wire], seconds: float | None) -> list[Wire]:
    """Wait until some of the processes have something to say; their wires."""
    by_pipe: dict[Any, Wire] = {cast(LocalWire, wire).pipe: wire for wire in wires}
    return [by_pipe[pipe] for pipe in wait(list(by_pipe), seconds)]


def _set_timeout(pipe: Connection, seconds: float) -> None:
    """Reading and writing raise BlockingIOError where the other side stops in a message."""
    value = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
    with socket.socket(fileno=os.dup(pipe.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
