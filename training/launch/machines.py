"""Several machines that train together: machine 0 says where it is met, the others look there.

They share the run's folder. What machine 0 launches lies in a file beside the job; a machine
with another rank (training.launch.follow_machine) launches its own processes for it, through
accelerate.
"""

import json
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import UserError
from contracts.tables.parts import write_atomic
from training.config import TrainResources

log = logging.getLogger(__name__)

FILE = ".launch.json"
_RANKS = ("MACHINE_RANK", "NODE_RANK", "SLURM_NODEID")


@dataclass(frozen=True)
class Launch:
    """One start of a job on every machine."""

    id: str
    job: str
    module: str
    resources: TrainResources
    address: str
    port: int


def machine_rank(resources: TrainResources) -> int:
    """This machine's number.

    Raises:
        UserError: it is none of the machines'.
    """
    if resources.machines == 1:
        return 0
    rank = resources.machine_rank
    if rank is None:
        rank = int(next((os.environ[name] for name in _RANKS if os.environ.get(name)), "0"))
    if rank >= resources.machines:
        raise UserError(
            f"resources.machine_rank: {rank} is none of {resources.machines} machines, "
            f"which are counted from 0 (from the config, or {', '.join(_RANKS)})"
        )
    return rank


@contextmanager
def announced(resources: TrainResources, job: Path, module: str) -> Iterator[Launch]:
    """Tell the other machines to launch `job` with this one, until it has ended here."""
    where = _address(resources), _port(resources)
    launch = Launch(uuid.uuid4().hex, str(job), module, resources, *where)
    others = resources.machines - 1
    log.info("machine 0 at %s:%d waits for %d other(s)", launch.address, launch.port, others)
    path = job.with_name(FILE)
    written = {**vars(launch), "resources": resources.model_dump(mode="json")}
    write_atomic(path, json.dumps(written).encode())
    try:
        yield launch
    finally:
        path.unlink(missing_ok=True)


def read_launch(path: Path) -> Launch | None:
    """What machine 0 has launched; none where nothing runs."""
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    resources = TrainResources.model_validate(values.pop("resources"))
    return Launch(**values, resources=resources)


def _address(resources: TrainResources) -> str:
    return resources.main_address or os.environ.get("MASTER_ADDR") or socket.getfqdn()


def _port(resources: TrainResources) -> int:
    if port := resources.main_port or int(os.environ.get("MASTER_PORT") or 0):
        return port
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])
