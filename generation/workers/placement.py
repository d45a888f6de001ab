"""Where a config's engines run on this machine."""

from generation.config import Engine
from runtime.cluster.seating import Request
from runtime.device import visible_gpus
from runtime.pool.placement import Placement, Places, gpu_groups


def placement_for(engine: Engine) -> Places:
    """The placement that an engine's config asks for: on this machine, or in its cluster.

    Raises:
        UserError: there are too few GPUs, or there is no such cluster.
    """
    requested = engine.resources.data_parallel
    if engine.resources.cluster and requested != 0:
        from runtime.cluster.placement import RayPlacement

        return RayPlacement(engine.resources.cluster, request_of(engine))
    gpus = visible_gpus()
    if requested == 0 or not gpus:
        return Placement(1 if requested is None else requested)
    each = engine.gpus_each
    workers = requested or max(1, len(gpus) // each)
    keys = f"data_parallel {workers} times tensor_parallel {each}"
    return Placement(workers, gpu_groups(gpus, workers, each, keys))


def request_of(engine: Engine) -> Request:
    """The workers that an engine's config asks of a cluster."""
    return Request(engine.resources.data_parallel, engine.gpus_each, on_cpu=1)


def warm_up(placement: Places, engine: Engine) -> None:
    """Begin to import the engine, while this process goes on with something else."""
    if isinstance(placement, Placement) and placement.workers:
        engine.set_environment(on_cpu=not placement.gpus)
    placement.warm_up([engine.preloads] if engine.preloads else [])
