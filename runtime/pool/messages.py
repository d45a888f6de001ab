"""What a worker process and its starter say to each other: JSON, nothing in it is ever run."""

import json
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

WorkerMessage = dict[str, Any]

# A third of the shortest `hang_timeout` (3 s), so that one late beat kills no worker.
_HEARTBEAT_SECONDS = 1.0


def pack(message: WorkerMessage) -> bytes:
    """A message as the bytes that pass between the two."""
    return json.dumps(message, separators=(",", ":")).encode()


def unpack(data: bytes) -> WorkerMessage:
    """The message in such bytes."""
    return dict(json.loads(data))


def read(connection: Connection) -> bytes:
    """The next message's bytes of a pipe.

    Raises:
        EOFError: the other side has closed it, or died.
        BlockingIOError: the other side stopped in the middle of a message.
    """
    try:
        return connection.recv_bytes()
    except BlockingIOError:
        raise
    except OSError:
        raise EOFError from None


class Link:
    """A worker's end of the pipe. The worker ends at once when the other end is closed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox: queue.SimpleQueue[WorkerMessage] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._spoke = time.monotonic()
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, **message: Any) -> None:
        """Send a message; from any thread."""
        with self._lock:
            self._connection.send_bytes(pack(message))
            self._spoke = time.monotonic()

    def receive(self) -> WorkerMessage:
        """The next message, waited for."""
        return self._inbox.get()

    @property
    def waiting(self) -> bool:
        """Whether a message has come."""
        return not self._inbox.empty()

    def heartbeat(self) -> None:
        """A sign of life, unless the last word was just now."""
        if time.monotonic() - self._spoke >= _HEARTBEAT_SECONDS:
            with suppress(OSError):  # hung up: the listener ends this process
                self.send(alive=True)

    def _listen(self) -> None:
        """Read at all times, so that the other side never waits for work here to end."""
        while True:
            try:
                self._inbox.put(unpack(read(self._connection)))
            except EOFError:
                # An engine's own processes are in our group (`runtime.pool.worker_main`).
                os.killpg(0, signal.SIGKILL)


_heartbeats: list[Callable[[], None]] = []


def announce_heartbeats(link: Link) -> None:
    """Make `heartbeat` send through `link`, in this process."""
    _heartbeats[:] = [link.heartbeat]


def heartbeat() -> None:
    """Say that work goes on; outside a worker this does nothing. Call it at each step of long work.

    A worker that is silent for `resources.hang_timeout` seconds is taken for hung.
    """
    for announce in _heartbeats:
        announce()
