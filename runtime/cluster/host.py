"""One process on a node: an actor that starts it there as machine 0 would start it on itself, and
passes on what it prints. Where the actor ends, the process does."""

import os
import queue
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from runtime import device
from runtime.child_process import Child
from runtime.cluster.models import bring_models
from runtime.device import visible_gpus
from runtime.free_port import free_port
from runtime.module_process import start_module
from runtime.pool.placement import cores

_MOST_AT_ONCE = 256


class Host:
    """The actor. What it is told and what it says are texts and numbers."""

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[str | int] = queue.SimpleQueue()
        self._child: Child | None = None

    def place(self) -> dict[str, Any]:
        """Where it is, as `runtime.cluster.ranks.Place` has it."""
        from ray import get_runtime_context
        from ray.util import get_node_ip_address

        return {
            "node": get_runtime_context().get_node_id(), "address": get_node_ip_address(),
            "machine": socket.gethostname(), "gpus": visible_gpus(), "cores": cores(),
        }  # fmt: skip

    def free_port(self) -> int:
        """One at which nobody listens here."""
        return free_port("")

    def start(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        needs: dict[str, Any],
    ) -> None:
        """Start `python -m module`, once the models that it `needs` are here, in machine 0's
        folder, from which others may be named."""
        copies = bring_models(needs)
        free_of_ray()
        with suppress(OSError):
            os.chdir(needs["folder"])
        self._child = start_module(module, arguments, {**environment, **copies})
        threading.Thread(target=self._listen, args=(self._child,), daemon=True).start()

    def receive(self) -> tuple[list[str], int | None]:
        """Lines that it has printed since, waited for, and its exit code once it has ended."""
        lines = list[str]()
        while not lines or (len(lines) < _MOST_AT_ONCE and not self._said.empty()):
            item = self._said.get()
            if isinstance(item, int):
                return lines, item
            lines.append(item)
        return lines, None

    def kill(self) -> None:
        """End it with all that it started."""
        if child := self._child:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def _listen(self, child: Child) -> None:
        for line in child.stdout or ():
            self._said.put(line)
        self._said.put(child.wait())


def free_of_ray() -> None:
    """Take from this actor's environment what Ray means for its own processes alone."""
    os.environ.pop("PYTHONBREAKPOINT", None)  # Ray's debugger
    if not device.torch_build():
        # Ray hides GPUs by it, which a torch for the CPU would not see; a fork server, where there
        # is one, forks into its own environment alone.
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
