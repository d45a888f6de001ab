"""A placement group for processes that run together: as many as there is room for."""

import logging
import time
from typing import Any

from runtime.cluster.seating import Seating
from runtime.cluster.session import nodes

log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0


def placed(seating: Seating, processes: int) -> Any:
    """A placement group with a bundle for each process, or for as many as fit the nodes that are
    there, once nobody else holds what they need."""
    told = ""
    while True:
        fitting = seating.at_once(nodes())
        if not fitting:
            told = _say("no node of the cluster has room for a process: waiting for one", told)
            time.sleep(_LOOK_SECONDS)
        elif group := _placed(seating, fitting):
            if fitting < processes:
                log.warning("the cluster has room for %d of %d processes", fitting, processes)
            return group


def _placed(seating: Seating, fitting: int) -> Any:
    """The placement group; None where nodes come or go meanwhile."""
    from ray.util import placement_group, remove_placement_group

    bundle = {"GPU": seating.gpus} if seating.gpus else {"CPU": seating.cpus}
    group = placement_group([bundle] * fitting, strategy="PACK")
    what = next(iter(bundle))
    told = ""
    while seating.at_once(nodes()) == fitting:
        if group.wait(_LOOK_SECONDS):
            return group
        told = _say(f"waiting for {what}s of the cluster, which others hold", told)
    remove_placement_group(group)
    return None


def _say(line: str, told: str) -> str:
    """Say it, unless it was the last thing told."""
    if line != told:
        log.info("%s", line)
    return line
