"""Which process of a group is where: its rank, and what it is told of the others."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A process's place on a node."""

    node: str
    """The node's id."""
    address: str
    machine: str
    """Its host name."""
    gpus: Sequence[str]
    """Those that are its own."""
    cores: int
    """Of the node, or of the container that it is."""

    def __str__(self) -> str:
        return f"node {self.address}"


def by_rank(places: Sequence[Place], machine: str) -> list[int]:
    """The places' numbers in the order of ranks: a node's beside each other, those of `machine`
    first, so that what rank 0 writes is written there where it can be."""
    nodes = list(dict.fromkeys(place.node for place in places))

    def order(number: int) -> tuple[bool, int]:
        return places[number].machine != machine, nodes.index(places[number].node)

    return sorted(range(len(places)), key=order)


def environments(places: Sequence[Place], port: int) -> list[dict[str, str]]:
    """What torch and accelerate read of each process's place among the others, by rank.

    Every process sees all of its group's GPUs on its node, and takes that of its local rank, so
    that NCCL finds the way between them. `port` is free on the first one's node.
    """
    on_node = Counter(place.node for place in places)
    begun: Counter[str] = Counter()
    told = []
    for rank, place in enumerate(places):
        one = {
            "RANK": str(rank), "WORLD_SIZE": str(len(places)),
            "LOCAL_RANK": str(begun[place.node]), "LOCAL_WORLD_SIZE": str(on_node[place.node]),
            "MASTER_ADDR": places[0].address, "MASTER_PORT": str(port),
        }  # fmt: skip
        begun[place.node] += 1
        told.append(one | visible(places, place.node))
    return told


def visible(places: Sequence[Place], node: str) -> dict[str, str]:
    """What shows a process its group's GPUs on a node; nothing where there are none."""
    gpus = [gpu for place in places if place.node == node for gpu in place.gpus]
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}


def cores_each(places: Sequence[Place]) -> int:
    """Cores of each process, the same for all: the fewest that a node has for one of its own."""
    on_node = Counter(place.node for place in places)
    return max(1, min(place.cores // on_node[place.node] for place in places))
