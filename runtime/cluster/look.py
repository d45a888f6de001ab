"""Whether a cluster will do, asked before a run: `python -m runtime.cluster.look LOOK`."""

import json
import os
import sys
from pathlib import Path

from pydantic import BaseModel

from contracts.errors import OnPolicyError
from runtime.cluster.config import RayCluster
from runtime.cluster.needs import needs_of
from runtime.cluster.seating import Request, refuse_few, seating
from runtime.cluster.session import connect, nodes, refuse_unmet

ANSWER = "::cluster "


class Look(BaseModel):
    """What is to be looked at."""

    cluster: RayCluster
    requests: list[Request]
    models: list[str]
    files: list[Path] = []
    """Files that nodes must see as this machine does."""


def fault_of(look: Look) -> str:
    """What is amiss with a cluster; empty if nothing is."""
    try:
        connect(look.cluster)
        known = nodes()
        for request in look.requests:
            refuse_few(known, request)
        seatings = [seating(known, request) for request in look.requests]
        used = [node for node in known if any(one.fits(node) for one in seatings)]
        refuse_unmet(needs_of(look.models, look.files, look.cluster.store), used)
    except OnPolicyError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    print(ANSWER + json.dumps(fault_of(Look.model_validate_json(sys.argv[1]))), flush=True)
    # Nothing of ours is left there; taking leave would take a second.
    os._exit(0)
