"""What a cluster has by now, for a forecast: `python -m runtime.cluster.count COUNT`."""

import os
import sys

from pydantic import BaseModel

from contracts.errors import OnPolicyError
from runtime.cluster.config import RayCluster
from runtime.cluster.seating import Request, seating
from runtime.cluster.session import connect, nodes

ANSWER = "::counted "


class Count(BaseModel):
    """What is to be counted."""

    cluster: RayCluster
    requests: dict[str, Request]
    """What workers each stage asks for, by the stage's name."""


class Counted(BaseModel):
    """A cluster's nodes, and the workers that they have room for."""

    address: str
    nodes: int = 0
    cpus: int = 0
    gpus: int = 0
    workers: dict[str, int] = {}
    """By the stage's name."""
    fault: str = ""
    """Why the rest is not known."""


def counted(count: Count) -> Counted:
    """What the cluster has; or why that cannot be told."""
    address = count.cluster.address
    try:
        connect(count.cluster)
        known = nodes()
        workers = {
            name: seating(known, request).room(known) for name, request in count.requests.items()
        }
    except OnPolicyError as error:
        return Counted(address=address, fault=str(error))
    cpus, gpus = sum(node.cpus for node in known), sum(node.gpus for node in known)
    return Counted(address=address, nodes=len(known), cpus=cpus, gpus=gpus, workers=workers)


if __name__ == "__main__":
    print(ANSWER + counted(Count.model_validate_json(sys.argv[1])).model_dump_json(), flush=True)
    # Nothing of ours is left there; taking leave would take a second.
    os._exit(0)
