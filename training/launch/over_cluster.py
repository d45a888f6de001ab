"""A training's processes on the nodes of a Ray cluster.

They meet at the first process's node. Where a node is lost, all end, and are started again where
there is room, by as many as that is for: they go on from the last checkpoint.
"""

import json
import logging
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from contracts.errors import OnPolicyError
from contracts.tables.parts import write_atomic
from runtime.cluster.config import RayCluster
from runtime.cluster.group import Group, Lost
from runtime.cluster.ranks import cores_each, environments
from runtime.cluster.seating import Request, Seating, seating
from runtime.cluster.session import connect, disconnect, nodes
from runtime.progress import parse_progress
from training.config import TrainResources
from training.launch.environment import own_environment
from training.launch.output import pass_on

log = logging.getLogger(__name__)

# Nodes and processes in a row, without a step beyond what had been reached.
_MOST_LOST = 10
# Over which network the processes talk is as machine 0's environment says.
_NETWORK = ("GLOO_", "NCCL_")


def request_of(resources: TrainResources) -> Request:
    """The processes that a training asks of a cluster."""
    return Request(resources.processes, 1, on_cpu=resources.processes, together=True)


def run_over(cluster: RayCluster, resources: TrainResources, job: Path, module: str) -> None:
    """Run the job's workers over the cluster to their end, on all nodes or on those that are left.

    Raises:
        UserError: there is no such cluster, a node lacks what they need, or a worker refused what
            it was given.
        OnPolicyError: they failed, or were lost too often.
    """
    is_ours = connect(cluster)
    try:
        seats, losses = seating(nodes(), request_of(resources)), _Losses()
        while not _has_run(seats, resources, cluster.store, job, module, losses):
            pass
    finally:
        if is_ours:
            disconnect()


class _Losses:
    """Nodes lost in a row, without a step that had not been reached before."""

    def __init__(self) -> None:
        self._lost = self._reached = 0

    def watch(self, lines: Iterable[str]) -> Iterator[str]:
        """What the processes print, as it is."""
        for line in lines:
            if (reading := parse_progress(line)) and reading.done > self._reached:
                self._lost, self._reached = 0, reading.done
            yield line

    def count(self, lost: Lost) -> None:
        """Say that one more was lost.

        Raises:
            OnPolicyError: that was too often.
        """
        self._lost += 1
        if self._lost >= _MOST_LOST:
            raise OnPolicyError(
                f"{lost}: that is the {_MOST_LOST}th time in a row without a step further (is "
                "there too little memory?). The same command goes on from the last checkpoint"
            )
        log.warning("%s: it goes on from the last checkpoint, where there is room", lost)


def _has_run(
    seats: Seating, resources: TrainResources, store: str | None, job: Path, module: str,
    losses: _Losses,
) -> bool:  # fmt: skip
    """Whether the workers ran to their end; not where one of their nodes was lost.

    Raises:
        UserError, OnPolicyError: as `run_over`.
    """
    try:
        with closing(Group(seats, resources.processes, store)) as group:
            places = group.meet()
            threads = resources.threads or seats.cpus or cores_each(places)
            here = resources.model_copy(update={"processes": len(places), "threads": threads})
            with _job_of(here, job) as path:
                _start(group, here, path, module)
                failure = pass_on(losses.watch(group.lines()))
    except Lost as lost:
        losses.count(lost)
        return False
    if group.code:
        raise failure
    return True


@contextmanager
def _job_of(resources: TrainResources, job: Path) -> Iterator[Path]:
    """A job file for these processes, under a name that no node can have seen before: where the
    folder is not shared, they lack it. Its end makes machine 0 look at the folder anew, which a
    node may have written to."""
    read = json.loads(job.read_text())
    read["config"]["resources"] = resources.model_dump(mode="json")
    # Where it is left behind, the step's next start removes it.
    path = Path(read["out"], f".tmp-job-{uuid.uuid4().hex}.json")
    write_atomic(path, json.dumps(read).encode())
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _start(group: Group, resources: TrainResources, job: Path, module: str) -> None:
    """Start the workers at the group's places.

    Raises:
        UserError: a node lacks what they need.
        Lost: a node is gone.
    """
    policy = json.loads(job.read_text())["policy"]
    group.require([policy], [job])
    network = {name: value for name, value in os.environ.items() if name.startswith(_NETWORK)}
    own = own_environment(resources) | network
    if resources.processes == 1 and "zero" not in resources.strategy:
        told = [own]  # without a process group, as on this machine
    else:
        told = [own | one for one in environments(group.places, group.free_port())]
    group.start(module, [str(job)], told)
