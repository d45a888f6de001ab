"""Where a config's engines run on this machine."""

import os

from generation.config import Engine, VllmEngine
from runtime.pool.placement import Placement, gpu_groups, visible_gpus

PRELOAD = "ONPOLICY_PRELOAD"
"""Environment variable: the engine that `generation.engines.preload` imports."""


def placement_for(engine: Engine) -> Placement:
    """The placement that an engine's config asks for on this machine.

    Raises:
        UserError: the machine has too few GPUs.
    """
    asked = engine.resources.data_parallel
    gpus = visible_gpus()
    if asked == 0 or not gpus:
        return Placement(1 if asked is None else asked)
    each = engine.resources.tensor_parallel if isinstance(engine, VllmEngine) else 1
    workers = asked or max(1, len(gpus) // each)
    keys = f"data_parallel {workers} times tensor_parallel {each}"
    return Placement(workers, gpu_groups(gpus, workers, each, keys))


def warm_up(placement: Placement, engine: Engine) -> None:
    """Begin to import the engine, while this process goes on with something else."""
    if placement.workers and isinstance(engine, VllmEngine) and not placement.gpus:
        set_vllm_environment(True, engine.resources.enforce_eager in (None, True))
    os.environ[PRELOAD] = engine.kind
    placement.warm_up(["generation.engines.preload"])


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
