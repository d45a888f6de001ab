"""A forked process as its starter sees it."""

import json
import logging
import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from typing import IO

log = logging.getLogger(__name__)


class ForkedChild:
    """The interface of `runtime.child_process.Child` over a connection to the server."""

    def __init__(
        self,
        pid: int,
        connection: socket.socket,
        replies: IO[bytes],
        stdin: IO[str] | None,
        stdout: IO[str] | None,
    ) -> None:
        """
        Args:
            replies: what the connection brings from here on.
        """
        self.pid = pid
        self.stdin, self.stdout = stdin, stdout
        self._connection = connection
        self._code: int | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self._follow, args=(replies,), daemon=True).start()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit code, or minus the number of the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        assert self._code is not None
        return self._code

    def terminate(self) -> None:
        """SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:  # until we hang up, the server keeps the number taken
            if self._code is None:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, number)

    def _follow(self, replies: IO[bytes]) -> None:
        line = b""
        with suppress(OSError):
            line = replies.readline()
        code = json.loads(line)["code"] if line else self._lost()
        with self._lock:
            self._code = int(code)
            replies.close()
            self._connection.close()
        self._ended.set()

    def _lost(self) -> int:
        """The server is gone, and with it who could tell how the process ends."""
        log.warning("the fork server is gone: process %d is ended", self.pid)
        for kill in (os.killpg, os.kill):
            with suppress(ProcessLookupError):
                kill(self.pid, signal.SIGKILL)
        return -signal.SIGKILL
