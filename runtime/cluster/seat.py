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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from runtime.child_process import Child
from runtime.cluster.frames import Call, pack_answer, unpack_call
from runtime.cluster.host import free_of_ray
from runtime.cluster.models import bring_models
from runtime.cluster.needs import unmet
from runtime.pool.messages import read
from runtime.pool.worker_main import start_named

_GRACE_SECONDS = 5.0
# Ray takes up to 100 kB along with an answer; what is larger it fetches from the node's own store.
_MOST_BYTES = 64 << 10


class Life:
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
        self._early: dict[int, Sequence[bytes]] = {}
        self._next = 0
        self._order = threading.Lock()
        threading.Thread(target=self._listen, args=(self._pipe,), daemon=True).start()

    def send(self, call: Call) -> None:
        """Pass a call's messages on, in their order."""
        with self._order, suppress(OSError):
            if call.messages:
                self._early[call.first] = call.messages
            while (following := self._early.pop(self._next, None)) is not None:
                self._next += len(following)
                for message in following:
                    self._pipe.send_bytes(message)

    def gather(self, pause: float) -> tuple[list[bytes], int | None]:
        """What it has said since, waited for, and its exit code once it has ended.

        Args:
            pause: seconds from one time to the next, at least.
        """
        messages, size = list[bytes](), 0
        item: bytes | int | None = self.outbox.get()
        while isinstance(item, bytes):
            messages.append(item)
            size += len(item)
            left = self.answered + pause - time.monotonic()
            item = self.next(left) if size < _MOST_BYTES else None
        self.answered = time.monotonic()
        return messages, item

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
        self._lives: dict[int, Life] = {}
        self._lock = threading.Lock()

    def start(self, life: int, spec: str) -> str:
        """Begin worker `life` here; what is said of the place, what it lacks that the store does
        not have yet, or why there is none, as JSON."""
        said = json.loads(spec)
        needs = said["needs"]
        told = json.loads(unmet(json.dumps(needs)))
        if told["faults"]:
            return json.dumps({"refused": f"{_node()} {'; '.join(told['faults'])}"})
        if lacking := [path for path in told["lacking"] if path not in needs["stored"]]:
            return json.dumps({"lacking": lacking, "node": _node()})
        said["environment"] |= bring_models(needs)
        free_of_ray()
        with self._lock:
            self._lives = {life: Life(said)}
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        place = _node() + (f", GPU {gpus}" if gpus else "")
        return json.dumps({"place": place, "node": _node()})

    def send(self, frame: bytes) -> None:
        """Messages to a worker; those to one that has ended are lost."""
        call = unpack_call(frame)
        if current := self._lives.get(call.life):
            current.send(call)

    def exchange(self, frame: bytes) -> bytes:
        """Messages to a worker; and what it says next, waited for."""
        call = unpack_call(frame)
        current = self._lives[call.life]
        current.send(call)
        return pack_answer(*current.gather(call.pause))

    def kill(self, life: int) -> None:
        """End worker `life`; a call that comes late finds another one here."""
        if current := self._lives.get(life):
            current.kill()


def _node() -> str:
    from ray.util import get_node_ip_address

    return f"node {get_node_ip_address()}"
