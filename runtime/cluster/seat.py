"""A worker's place on a node: an actor that starts the worker as machine 0 would start it on
itself, and passes on what the two say to each other.

It outlives its workers: one that dies is begun anew on the same GPUs, and those of a worker that
was taken for broken go to nobody else. Where the actor ends, the worker does.
"""

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from contracts.models.fetch import fetch_models
from runtime.child_process import Child
from runtime.cluster.host import free_of_ray
from runtime.cluster.needs import unmet
from runtime.pool.messages import read
from runtime.pool.worker_main import start_named

_GRACE_SECONDS = 5.0
_MOST_AT_ONCE = 256
# Between answers to machine 0. A worker with short samples says something every few milliseconds,
# and each call takes CPU time here and there: with the demo's model tokens a CPU second were 0.73
# of the local pool's, and are 0.79 (benchmarks/RESULTS.md).
_PAUSE_SECONDS = 0.05


class _Life:
    """One worker: its process, and the messages that it has sent."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.outbox: queue.SimpleQueue[bytes | int] = queue.SimpleQueue()
        """Ends with the exit code."""
        self.answered = 0.0
        """When machine 0 was last told something, in seconds of the monotonic clock."""
        self._pipe, theirs = Pipe()
        self._child: Child = start_named(
            spec["work"], spec["path"], theirs.fileno(), spec["environment"]
        )
        theirs.close()
        self._early: dict[int, bytes] = {}
        self._next = 0
        self._order = threading.Lock()
        threading.Thread(target=self._listen, args=(self._pipe,), daemon=True).start()

    def send(self, index: int, data: bytes) -> None:
        """Pass message `index` on. Ray may deliver calls in another order than they are made."""
        with self._order, suppress(OSError):
            self._early[index] = data
            while (following := self._early.pop(self._next, None)) is not None:
                self._next += 1
                self._pipe.send_bytes(following)

    def next(self, seconds: float) -> bytes | int | None:
        """What else it has said, waited for; None if that is nothing."""
        with suppress(queue.Empty):
            return self.outbox.get(seconds > 0, max(seconds, 0.0))
        return None

    def kill(self) -> int:
        """End it with all that it started; its exit code."""
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.kill()
        with suppress(subprocess.TimeoutExpired):
            return self._child.wait(_GRACE_SECONDS)
        return -signal.SIGKILL

    def _listen(self, pipe: Connection) -> None:
        with suppress(EOFError):
            while True:
                self.outbox.put(read(pipe))
        # The worker has hung up, or is dying: what it started goes with it.
        self.outbox.put(self.kill())


class Seat:
    """The actor. What it is told and what it says are JSON texts, bytes and numbers."""

    def __init__(self) -> None:
        self._lives: dict[int, _Life] = {}
        self._lock = threading.Lock()

    def start(self, life: int, spec: str) -> str:
        """Begin worker `life` here; what is said of the place, or why there is none, as JSON."""
        said = json.loads(spec)
        if lacking := json.loads(unmet(json.dumps(said["needs"]))):
            return json.dumps({"refused": f"{_node()} {'; '.join(lacking)}"})
        fetch_models(said["needs"]["models"])
        free_of_ray()
        with self._lock:
            self._lives = {life: _Life(said)}
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        place = _node() + (f", GPU {gpus}" if gpus else "")
        return json.dumps({"place": place, "node": _node()})

    def send(self, life: int, index: int, data: bytes) -> None:
        """A message to the worker."""
        if current := self._lives.get(life):
            current.send(index, data)

    def receive(self, life: int) -> tuple[list[bytes], int | None]:
        """What the worker has said since, waited for, and its exit code once it has ended."""
        current, messages = self._lives[life], list[bytes]()
        item: bytes | int | None = current.outbox.get()
        while isinstance(item, bytes):
            messages.append(item)
            pause = current.answered + _PAUSE_SECONDS - time.monotonic()
            item = current.next(pause) if len(messages) < _MOST_AT_ONCE else None
        current.answered = time.monotonic()
        return messages, item

    def kill(self, life: int) -> None:
        """End worker `life`; a call that comes late finds another one here."""
        if current := self._lives.get(life):
            current.kill()


def _node() -> str:
    from ray.util import get_node_ip_address

    return f"node {get_node_ip_address()}"
