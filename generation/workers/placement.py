"""Where a config's engines run on this machine."""

from generation.config import Engine
from runtime.pool.placement import Placement, gpu_groups, visible_gpus


def placement_for(engine: Engine) -> Placement:
    """The placement that an engine's config asks for on this machine.

    Raises:
        UserError: the machine has too few GPUs.
    """
    requested = engine.resources.data_parallel
    gpus = visible_gpus()
    if requested == 0 or not gpus:
        return Placement(1 if requested is None else requested)
    each = engine.gpus_each
    workers = requested or max(1, len(gpus) // each)
    keys = f"data_parallel {workers} times tensor_parallel {each}"
    return Placement(workers, gpu_groups(gpus, workers, each, keys))


def warm_up(placement: Placement, engine: Engine) -> None:
    """Begin to import the engine, while this process goes on with something else."""
    if placement.workers:
        engine.set_environment(on_cpu=not placement.gpus)
    placement.warm_up([engine.preloads] if engine.preloads else [])
