"""What can be known of annotators before the first response is sampled."""

from collections.abc import Iterator, Mapping

from annotation.config import Annotator, ScoreConfig
from annotation.workers.placement import is_spread, placement_for
from contracts.checks import Check
from contracts.errors import UserError
from runtime.device import has_cuda


def checks(config: ScoreConfig, annotators: Mapping[str, Annotator]) -> Iterator[Check]:
    """Of files, headers and the environment alone; nothing is imported.

    Args:
        annotators: by their keys, those of the evaluation too.
    """
    device = config.resources.device
    if not (config.resources.cluster and is_spread(config)):  # that is looked at as a whole
        yield Check("annotation.resources.workers", lambda: placement_for(config))
        yield Check("annotation.resources.device", lambda: refuse_without_gpu(device))
    for key, annotator in annotators.items():
        yield from annotator.checks(key)


def refuse_without_gpu(device: str) -> None:
    """Refuse a CUDA device where torch sees none.

    Raises:
        UserError: a GPU is asked for where there is none.
    """
    if device.startswith("cuda") and not has_cuda():
        raise UserError(f"{device!r}, but torch sees no CUDA device here; leave it at `auto`")
