"""Prefect's API is told of the run from a thread of its own: no outage holds up or ends a stage."""

import contextvars
import queue
import threading
import time
from collections.abc import Callable

from contracts.errors import named_first_line

Warn = Callable[[str], None]

# More than a round says at once; in an outage, older news is worth no more than newer.
_ROOM = 256


class Publisher:
    """Sends what it is given in the order given, best effort."""

    def __init__(self, warn: Warn) -> None:
        """
        Args:
            warn: told, from the thread, when sending fails and when it works again.
        """
        self._warn = warn
        self._queue: queue.Queue[Callable[[], None]] = queue.Queue(_ROOM)
        self._thread: threading.Thread | None = None
        self._lost = 0
        """What was not sent since the last time that sending worked."""

    def put(self, send: Callable[[], object]) -> None:
        """Send later, as part of the flow or task run that asks for it now; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)
            self._thread.start()
        context = contextvars.copy_context()
        try:
            self._queue.put_nowait(lambda: context.run(self._try, send))
        except queue.Full:
            self._lost += 1

    def flush(self, seconds: float) -> None:
        """Wait until all is sent, but not longer than this, and not at all in an outage."""
        deadline = time.monotonic() + seconds
        while self._queue.unfinished_tasks and not self._lost and time.monotonic() < deadline:
            time.sleep(0.02)

    def _work(self) -> None:
        while True:
            self._queue.get()()
            self._queue.task_done()

    def _try(self, send: Callable[[], object]) -> None:
        try:
            send()
        except Exception as error:
            if not self._lost:
                self._warn(
                    "Prefect's server does not take what the run tells it "
                    f"({named_first_line(error)}): the run goes on, its UI misses progress, "
                    "sample pairs and plots"
                )
            self._lost += 1
            return
        if self._lost:
            self._warn(f"Prefect's server is back; {self._lost} things were not told to it")
            self._lost = 0
