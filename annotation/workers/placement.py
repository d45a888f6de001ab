"""Where a config's annotators run."""

from annotation.config import ScoreConfig
from contracts.errors import UserError
from runtime.cluster.seating import Request
from runtime.device import visible_gpus
from runtime.pool.placement import Placement, Places, gpu_groups


def placement_for(config: ScoreConfig) -> Places:
    """Where a config's annotators run: on this machine, or in its cluster.

    Raises:
        UserError: there are too few GPUs, one GPU is named for several workers, or there is no
            such cluster.
    """
    workers, device = config.resources.workers, config.resources.device
    with_model = any(annotator.reference for annotator in config.annotators)
    if config.resources.cluster and is_spread(config):
        from runtime.cluster.placement import RayPlacement

        return RayPlacement(config.resources.cluster, request_of(config))
    gpus = visible_gpus() if with_model and device != "cpu" else []
    named = device.startswith("cuda:")
    if workers is None:
        workers = 0 if named else len(gpus)
    if not workers or not gpus:
        return Placement(workers)
    if named:
        raise UserError(
            f"resources.device {device!r} names one GPU and resources.workers is {workers}: each "
            "worker takes a GPU of its own, so set `device: cuda`, or `workers: 0`"
        )
    return Placement(workers, gpu_groups(gpus, workers, 1, f"resources.workers {workers}"))


def request_of(config: ScoreConfig) -> Request:
    """The workers that a config asks of a cluster."""
    with_model = any(annotator.reference for annotator in config.annotators)
    gpus = int(with_model and config.resources.device != "cpu")
    return Request(config.resources.workers, gpus, on_cpu=0)


def is_spread(config: ScoreConfig) -> bool:
    """Whether there is anything to spread over a cluster. Answers that cost money are kept in the
    step's folder, which this machine alone writes."""
    if config.resources.workers == 0 or any(one.keeps_answers for one in config.annotators):
        return False
    return bool(config.resources.workers) or any(one.reference for one in config.annotators)


def warm_up(placement: Places, config: ScoreConfig) -> None:
    """Begin to import the annotators, while this process goes on with something else."""
    modules = dict.fromkeys(annotator.preloads for annotator in config.annotators)
    placement.warm_up([module for module in modules if module])
