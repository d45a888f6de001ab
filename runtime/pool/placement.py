"""Where workers run: how many, on which GPUs."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from contracts.errors import UserError
from runtime.fork_server.running import ensure_server
from runtime.pool.local import LocalWire, wait_for
from runtime.pool.wire import Wire
from runtime.pool.worker_main import Work

Groups = tuple[tuple[str, ...], ...]


class Places(Protocol):
    """Where a pool's workers run."""

    @property
    def workers(self) -> int:
        """How many workers there is room for; 0 means that this very process does the work."""

    def require(self, models: Iterable[str], files: Iterable[Path] = ()) -> None:
        """Refuse machines on which workers would not find what they load and read.

        Raises:
            UserError: says which, and what it lacks.
        """

    def warm_up(self, modules: Sequence[str]) -> None:
        """Begin to import what workers share, where that can be."""

    def start(self, number: int, work: Work, silence: float | None) -> Wire:
        """Begin worker `number`, or begin it anew.

        Args:
            silence: seconds for which it may stop in the middle of a message.
        """

    def wait(self, wires: Sequence[Wire], seconds: float | None) -> list[Wire]:
        """Wait until some of the workers have something to say; their wires."""

    def joined(self) -> int:
        """Workers that there is room for by now, beside those that were started."""

    def close(self) -> None:
        """Let go of what the workers used, once all have ended."""


@dataclass(frozen=True)
class Placement:
    """A place for workers on this machine; `workers` of 0 is this very process."""

    workers: int
    gpus: Groups = ()
    """The GPUs of each worker; empty on the CPU."""

    def environment(self, number: int) -> dict[str, str]:
        """What a worker's environment has beyond ours."""
        if self.gpus:
            return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus[number])}
        if self.workers < 2:
            return {}
        threads = max(1, cores() // self.workers)
        # vLLM would tie every worker to the same cores.
        shared = {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        return {name: value for name, value in shared.items() if name not in os.environ}

    def start(self, number: int, work: Work, silence: float | None) -> Wire:
        """A process of our own."""
        place = f"GPU {','.join(self.gpus[number])}" if self.gpus else ""
        return LocalWire(work, self.environment(number), place, silence)

    def wait(self, wires: Sequence[Wire], seconds: float | None) -> list[Wire]:
        """Wait until some of the pipes hold something; their wires."""
        return wait_for(wires, seconds)

    def require(self, models: Iterable[str], files: Iterable[Path] = ()) -> None:
        """What is here is here."""

    def joined(self) -> int:
        """A machine stays as it is."""
        return 0

    def close(self) -> None:
        """Nothing is left of a process that has ended."""

    def warm_up(self, modules: Sequence[str]) -> None:
        """Begin to import what workers on the CPU share, while this process goes on: one that
        dies is followed by another in less than a second."""
        if self.workers and not self.gpus:
            ensure_server(modules)


def gpu_groups(gpus: Sequence[str], workers: int, each: int, request: str) -> Groups:
    """The first `workers * each` of the GPUs, in groups of `each`.

    Raises:
        UserError: there are fewer; `request` names what was asked for.
    """
    if workers * each > len(gpus):
        raise UserError(
            f"{request} needs {workers * each} GPUs, and {len(gpus)} can be seen; ask for fewer"
        )
    return tuple(tuple(gpus[first : first + each]) for first in range(0, workers * each, each))


def cores() -> int:
    """Cores that this process may run on: in a container, or under `taskset`, not the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
