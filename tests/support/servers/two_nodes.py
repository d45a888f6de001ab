"""A real Ray cluster of two nodes on this machine."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from runtime.cluster.config import RayCluster

_FREE_ELSEWHERE = 900


class TwoNodes:
    """A head without CPUs, and two nodes with one each, and with what they take for a GPU."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        # Nodes are added by threads, too, which may set no handlers of signals.
        self._cluster._shutdown_at_exit = False
        self.nodes = [self.add(), self.add()]
        self.address = str(self._cluster.address)

    def add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=80 << 20)

    def lose(self, node: Any) -> None:
        """End a node without its leave, and everything on it."""
        self._cluster.remove_node(node, allow_graceful=False)

    def replace(self, number: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Lose a node, and start another once `meanwhile` has come back."""
        self.lose(self.nodes[number])
        meanwhile()
        self.nodes[number] = self.add()

    def close(self) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()

    @property
    def resources(self) -> dict[str, Any]:
        return {"cluster": {"address": self.address}}

    def with_store(self, folder: Path) -> dict[str, Any]:
        """`resources` with a new store in that folder, from which nodes fetch models."""
        folder.mkdir()
        return {"cluster": {"address": self.address, "store": f"file://{folder}"}}

    @property
    def place(self) -> RayCluster:
        return RayCluster(address=self.address)


@contextmanager
def seen_here_alone(folder: Path) -> Iterator[str]:
    """A path by which this process sees a folder, and none on a node does: by a number under which
    no other has a file open."""
    opened = os.open(folder, os.O_RDONLY)
    number = fcntl.fcntl(opened, fcntl.F_DUPFD, _FREE_ELSEWHERE)
    os.close(opened)
    try:
        yield f"/proc/self/fd/{number}"
    finally:
        os.close(number)


def actors(name: str) -> list[psutil.Process]:
    """The processes of this cluster's actors of a class."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if f"ray::{name}" in " ".join(process.cmdline()):
                found.append(process)
    return found
