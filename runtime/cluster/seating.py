"""How many workers fit a cluster, and what each has of a node. Ray decides on which."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from contracts.errors import UserError


@dataclass(frozen=True)
class Node:
    """A node that is there."""

    id: str
    address: str
    cpus: int
    gpus: int

    def __str__(self) -> str:
        return f"node {self.address}"


class Request(NamedTuple):
    """The workers that a stage asks for."""

    workers: int | None
    """How many; None is one for each group of GPUs that there is or comes to be."""
    gpus: int
    """GPUs of each."""
    on_cpu: int
    """How many where `workers` is None and there is no GPU."""
    together: bool = False
    """Whether all are needed at one time: training's processes."""


@dataclass(frozen=True)
class Seating:
    """What each worker has: GPUs, or CPUs where there are none."""

    gpus: int
    cpus: int
    """0 with GPUs, and where no worker is asked for."""
    most: int | None
    """Workers that are asked for; None is as many as fit."""

    def room(self, nodes: Sequence[Node]) -> int:
        """Workers that fit these nodes, of those that are asked for."""
        if not self.gpus:
            return self.most or 0
        room = sum(node.gpus // self.gpus for node in nodes)
        return room if self.most is None else min(room, self.most)

    def at_once(self, nodes: Sequence[Node]) -> int:
        """Those that are asked for and that fit these nodes at one time."""
        if not self.cpus:
            return self.room(nodes)
        return min(self.most or 0, sum(node.cpus // self.cpus for node in nodes))

    def fits(self, node: Node) -> bool:
        """Whether a worker may come to sit on the node."""
        if self.gpus:
            return node.gpus >= self.gpus
        return 0 < self.cpus <= node.cpus


def seating(nodes: Sequence[Node], request: Request) -> Seating:
    """How workers are seated on these nodes.

    Raises:
        UserError: no worker fits any of the nodes.
    """
    if request.gpus and any(node.gpus for node in nodes):
        _refuse_small(nodes, request.gpus)
        return Seating(request.gpus, 0, request.workers)
    workers = request.on_cpu if request.workers is None else request.workers
    return Seating(0, _cpus_each(nodes, workers), workers)


def refuse_few(nodes: Sequence[Node], request: Request) -> None:
    """Refuse nodes that have no room for processes which run together.

    Raises:
        UserError: says how many fit.
    """
    seats = seating(nodes, request)
    fitting = seats.at_once(nodes)
    if request.together and request.workers and fitting < request.workers:
        what = "GPU" if seats.gpus else "CPU"
        raise UserError(
            f"resources.cluster: training.resources.processes is {request.workers}, a {what} each, "
            f"and all nodes together have {fitting}; ask for fewer, or start more nodes"
        )


def _refuse_small(nodes: Sequence[Node], gpus: int) -> None:
    largest = max(nodes, key=lambda node: node.gpus)
    if largest.gpus < gpus:
        raise UserError(
            f"resources.cluster: one worker needs {gpus} GPUs on one node, and the largest "
            f"({largest}) has {largest.gpus}; lower tensor_parallel"
        )


def _cpus_each(nodes: Sequence[Node], workers: int) -> int:
    """As many as let all workers fit; where they do not, one each, and some wait for a node."""
    if not workers:
        return 0
    most = max((node.cpus for node in nodes), default=0)
    if not most:
        raise UserError(
            "resources.cluster: one worker needs a GPU or a CPU, and none of the nodes has one; "
            "start nodes with `ray start --address=HOST:6379`"
        )
    fitting = (n for n in range(most, 1, -1) if sum(one.cpus // n for one in nodes) >= workers)
    return next(fitting, 1)
