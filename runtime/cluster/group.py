"""Processes that run together on the nodes of a cluster: placed as a group, ended as one."""

import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from contracts.errors import OnPolicyError, first_line
from runtime.cluster.bundles import placed
from runtime.cluster.host import Host
from runtime.cluster.models import delivered
from runtime.cluster.needs import needs_of
from runtime.cluster.ranks import Place, by_rank
from runtime.cluster.seating import Seating
from runtime.cluster.session import nodes, refuse_unmet

# When a node goes, what talked to it fails a moment before Ray says so.
_SETTLE_SECONDS = 2.0
_GRACE_SECONDS = 10.0
# Of an actor: one waits for what the process prints, the others for what it is told.
_THREADS = 4
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)


class Lost(OnPolicyError):
    """A node, or a process that was killed from outside: the others can't go on without it."""


class Group:
    """Processes on nodes, one a bundle of a placement group; they are numbered by rank."""

    def __init__(self, seating: Seating, processes: int, store: str | None) -> None:
        """Wait until the nodes have room for all, or for those that still fit them.

        Args:
            processes: how many are wanted.
            store: where nodes fetch models that they do not see.
        """
        self._needs = needs_of([], [], store)
        self._group = placed(seating, processes)
        self._hosts = _hosts(seating, self._group)
        self.places: list[Place] = []
        self.code = 0
        """The exit code of the first that failed."""

    def meet(self) -> list[Place]:
        """Where the processes are to be, by rank.

        Raises:
            Lost: a node is gone.
        """
        places = [Place(**told) for told in _get([host.place.remote() for host in self._hosts])]
        order = by_rank(places, socket.gethostname())
        self._hosts = [self._hosts[number] for number in order]
        self.places = [places[number] for number in order]
        return self.places

    def require(self, models: Sequence[str], files: Sequence[Any]) -> None:
        """Refuse nodes that have other packages, or on which something is missing.

        Raises:
            UserError: names each node, and what it lacks and cannot fetch.
            OnPolicyError: the store, from which it is to fetch that, fails.
        """
        used = {place.node for place in self.places}
        needs = needs_of(models, files, self._needs["store"])
        lacking = refuse_unmet(needs, [node for node in nodes() if node.id in used])
        self._needs = delivered(needs, lacking)

    def free_port(self) -> int:
        """A port that is free where rank 0 is to be.

        Raises:
            Lost: its node is gone.
        """
        return int(_get([self._hosts[0].free_port.remote()])[0])

    def start(
        self, module: str, arguments: Sequence[str], environments: Sequence[Mapping[str, str]]
    ) -> None:
        """Start `python -m module` at every place, once what was required is there.

        Args:
            environments: what each process's has beyond its node's.

        Raises:
            Lost: a node is gone.
        """
        _get([
            host.start.remote(module, list(arguments), dict(environment), self._needs)
            for host, environment in zip(self._hosts, environments, strict=True)
        ])  # fmt: skip

    def lines(self) -> Iterator[str]:
        """What all of them print, until all have ended or one has failed.

        Raises:
            Lost: a node is gone, or a process was killed.
        """
        waiting = {host.receive.remote(): rank for rank, host in enumerate(self._hosts)}
        while waiting:
            answer = _first(waiting)
            rank = waiting.pop(answer)
            ((said, code),) = _get([answer], self.places[rank])
            yield from said
            if code is None:
                waiting[self._hosts[rank].receive.remote()] = rank
            elif code:
                self._refuse_lost(rank, code)
                self.code = code
                return

    def close(self) -> None:
        """End what runs, and wait for it: what follows wants its memory."""
        import ray
        from ray.exceptions import RayError

        with suppress(RayError, ConnectionError, RuntimeError):
            ended = [host.kill.remote() for host in self._hosts]
            ray.wait(ended, num_returns=len(ended), timeout=_GRACE_SECONDS)
        with suppress(RayError, ConnectionError, RuntimeError):
            ray.util.remove_placement_group(self._group)

    def _refuse_lost(self, rank: int, code: int) -> None:
        """Tell a failure from the echo of a node's loss, which others may hear of first.

        Raises:
            Lost: it is one, or the process was killed.
        """
        place = self.places[rank]
        if code in _FROM_OUTSIDE:
            raise Lost(f"process {rank} on {place} was killed by {signal.Signals(-code).name}")
        time.sleep(_SETTLE_SECONDS)
        there = {node.id for node in nodes()}
        if gone := [str(place) for place in self.places if place.node not in there]:
            raise Lost(f"{', '.join(dict.fromkeys(gone))} was lost")
        asked = [host.place.remote() for host in self._hosts]
        for answer, place in zip(asked, self.places, strict=True):
            _get([answer], place)


def _hosts(seating: Seating, group: Any) -> list[Any]:
    """An actor in each bundle."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    def host(bundle: int) -> Any:
        there = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)
        options = {"num_gpus": seating.gpus, "num_cpus": seating.cpus, "max_restarts": 0}
        actor = ray.remote(Host).options(
            **options, max_concurrency=_THREADS, scheduling_strategy=there
        )
        return actor.remote()

    return [host(bundle) for bundle in range(group.bundle_count)]


def _first(waiting: Mapping[Any, int]) -> Any:
    """The first answer that is there.

    Raises:
        Lost: the connection to the cluster is.
    """
    import ray
    from ray.exceptions import RayError

    try:
        return ray.wait([*waiting], num_returns=1)[0][0]
    except (RayError, ConnectionError) as error:
        raise Lost(f"the cluster does not answer ({first_line(error)})") from None


def _get(answers: Sequence[Any], place: Place | None = None) -> list[Any]:
    """All answers. A download may take hours; where a node falls silent, Ray gives it up.

    Raises:
        Lost: whoever was to give one is gone; `place` says where that was.
        UserError, OnPolicyError: what was raised there.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return list(ray.get(list(answers)))
    except RayTaskError as error:
        raise _told(error) from None
    except (RayError, ConnectionError):
        raise Lost(f"{place or 'a node'} was lost, or its actor killed") from None


def _told(error: Any) -> OnPolicyError:
    """An error of a call as the one that was raised there."""
    cause = error.cause
    return cause if isinstance(cause, OnPolicyError) else OnPolicyError(first_line(cause))
