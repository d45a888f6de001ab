"""Where the workers run: how many, on which GPUs, started how."""

import multiprocessing
import os
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

from contracts.errors import UserError
from generation.config import Engine, VllmEngine

PRELOAD = "ONPOLICY_PRELOAD"
"""Environment variable: the engine that `generation.engines.preload` imports."""


@dataclass(frozen=True)
class Site:
    """A place for workers; `workers` of 0 is this very process."""

    workers: int
    gpus: tuple[tuple[str, ...], ...]
    """The GPUs of each worker; empty on the CPU."""

    @property
    def start_method(self) -> str:
        """CPU workers fork from a process that has imported the engine: a new one is ready in
        less than a second. What a fork does to a GPU's driver is not left to chance."""
        return "spawn" if self.gpus else "forkserver"

    def environment(self, number: int) -> dict[str, str]:
        """What a worker's environment has beyond ours."""
        if self.gpus:
            return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus[number])}
        if self.workers < 2:
            return {}
        threads = max(1, (os.cpu_count() or 1) // self.workers)
        # vLLM would tie every worker to the same cores.
        shared = {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        return {name: value for name, value in shared.items() if name not in os.environ}

    def warm_up(self, engine: Engine) -> None:
        """Begin to import the engine, while this process goes on with something else."""
        if not self.workers or self.start_method != "forkserver":
            return
        if isinstance(engine, VllmEngine):
            set_vllm_environment(True, engine.resources.enforce_eager in (None, True))
        os.environ[PRELOAD] = engine.kind
        multiprocessing.get_context("forkserver").set_forkserver_preload(
            ["generation.engines.preload"]
        )
        forkserver.ensure_running()


def site_for(engine: Engine) -> Site:
    """The site that an engine's config asks for on this machine.

    Raises:
        UserError: the machine has too few GPUs.
    """
    asked = engine.resources.data_parallel
    gpus = _visible_gpus()
    if asked == 0 or not gpus:
        return Site(1 if asked is None else asked, ())
    each = engine.resources.tensor_parallel if isinstance(engine, VllmEngine) else 1
    workers = asked or max(1, len(gpus) // each)
    if workers * each > len(gpus):
        raise UserError(
            f"data_parallel {workers} times tensor_parallel {each} needs {workers * each} GPUs, "
            f"and {len(gpus)} can be seen; lower one of them"
        )
    groups = (tuple(gpus[first : first + each]) for first in range(0, workers * each, each))
    return Site(workers, tuple(groups))


def _visible_gpus() -> list[str]:
    """Names of the GPUs, without importing torch."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    devices = Path("/dev").glob("nvidia[0-9]*")
    return [str(number) for number in range(len(list(devices)))]


def set_vllm_environment(on_cpu: bool, eager: bool) -> None:
    """Settings that vLLM and torch read as they are imported; a user's own win."""
    settings = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    if on_cpu:
        # One process: the engine's own would import everything again. Its warnings speak
        # of Triton, NUMA and preloaded allocators.
        settings |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
        if eager:
            # Else the first log-prob asked for compiles a helper of vLLM's for 16 s.
            settings |= {"TORCH_COMPILE_DISABLE": "1"}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
