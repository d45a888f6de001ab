"""Where a config's engines run on this machine."""

import os

from generation.config import Engine, VllmEngine
from generation.engines.vllm_environment import set_vllm_environment
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
