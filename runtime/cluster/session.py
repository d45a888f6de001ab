"""This process as a driver of the cluster, and the nodes that it sees."""

import json
import logging
import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from contracts.errors import OnPolicyError, UserError, first_line
from runtime.cluster.config import RayCluster
from runtime.cluster.needs import unmet
from runtime.cluster.seating import Node

_KNOCK_SECONDS = 10.0
_LOOK_SECONDS = 120.0
_LONGEST = 300


def connect(cluster: RayCluster) -> bool:
    """Make this process a driver; whether it was none before.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A call after the cluster was lost would begin a cluster of this machine alone.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    try:
        import ray
        from ray.exceptions import AuthenticationError, RayError
    except ModuleNotFoundError:
        raise UserError("resources.cluster: Ray is not installed here: "
                        "pip install 'onpolicy[ray]'") from None  # fmt: skip
    if ray.is_initialized():
        return False
    try:
        _knock(cluster.address)
        ray.init(
            address=cluster.address, configure_logging=False, log_to_driver=True,
            logging_level=logging.WARNING,
        )  # fmt: skip
    except AuthenticationError:
        raise UserError(
            f"resources.cluster: the Ray cluster at {cluster.address!r} wants another token than "
            "this machine has; put its ~/.ray/auth_token here, too"
        ) from None
    except (OSError, RuntimeError, ValueError, RayError) as error:
        why = " ".join(str(error).split()).partition(". Please specify")[0][:_LONGEST]
        why = why or type(error).__name__
        if why.startswith("Version mismatch"):
            raise UserError(
                f"resources.cluster: {cluster.address!r}: {why}: install the same set everywhere"
            ) from None
        raise UserError(
            f"resources.cluster: no Ray cluster answers at {cluster.address!r} "
            f"({why}); start one with `ray start --head` here and `ray start "
            "--address=HOST:6379` on each other machine, or name one by `address`"
        ) from None
    return True


def _knock(address: str) -> None:
    """Ray itself tries for minutes where nobody listens.

    Raises:
        OSError: nobody does.
    """
    if address == "auto":
        # Where `ray start` writes down what it has started.
        known = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")  # noqa: S108
        address = os.environ.get("RAY_ADDRESS") or (known.read_text() if known.exists() else "")
    host, _, port = address.strip().rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()


def disconnect() -> None:
    """Let go of the cluster."""
    import ray

    ray.shutdown()


def refuse_lost() -> None:
    """
    Raises:
        OnPolicyError: this process is a driver of no cluster, or no longer.
    """
    import ray

    if not ray.is_initialized():
        raise _lost("it has been left, or the connection to it has been lost")


def nodes() -> list[Node]:
    """The nodes that are alive, as far as Ray has noticed.

    Raises:
        OnPolicyError: the cluster is gone.
    """
    import ray
    from ray.exceptions import RayError

    refuse_lost()
    try:
        known = ray.nodes()
    except (RayError, ConnectionError, RuntimeError) as error:
        raise _lost(first_line(error)) from None
    return [_node(one) for one in known if one["Alive"]]


def _lost(why: str) -> OnPolicyError:
    return OnPolicyError(
        f"the Ray cluster is gone ({why}). What is finished is kept: run the same command again "
        "once it is back"
    )


def _node(known: dict[str, Any]) -> Node:
    resources = known["Resources"]
    counts = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    return Node(known["NodeID"], known["NodeManagerAddress"], *counts)


def refuse_unmet(needs: dict[str, Any], known: Iterable[Node]) -> set[str]:
    """Ask every node at once what it lacks; all have the same 120 s. The models' folders that some
    of them lack, and can fetch from the store.

    Raises:
        UserError: names each node, and what.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(unmet)
    text = json.dumps(needs)
    asked = {
        node: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        ).remote(text)
        for node in known
    }
    if not asked:
        return set()
    there, _ = ray.wait([*asked.values()], num_returns=len(asked), timeout=_LOOK_SECONDS)
    late = Said([f"did not answer in {_LOOK_SECONDS:g} s"])
    said = {node: _said(node, one) if one in there else late for node, one in asked.items()}
    if faults := [f"{node} {line}" for node, one in said.items() for line in one.faults]:
        raise UserError("resources.cluster: " + "\n  ".join(faults))
    return {path for one in said.values() for path in one.lacking}


class Said(NamedTuple):
    """What `runtime.cluster.needs.unmet` tells of a node."""

    faults: Sequence[str] = ()
    lacking: Sequence[str] = ()


def _said(node: Node, answer: Any) -> Said:
    """What a node lacks; nothing where it was lost meanwhile."""
    import ray
    from ray.exceptions import RayError

    try:
        return Said(**json.loads(ray.get(answer)))
    except RayError as error:
        return Said(_fault(node, error))


def _fault(node: Node, error: Exception) -> list[str]:
    """
    Raises:
        OnPolicyError: the cluster is gone.
    """
    from ray.exceptions import NodeDiedError, TaskUnschedulableError

    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if missing := [line for line in lines if "ModuleNotFoundError" in line]:
        return [f"lacks this package ({missing[-1]}): install it there, in the same version"]
    is_lost = isinstance(error, (NodeDiedError, TaskUnschedulableError))
    if is_lost or node.id not in {one.id for one in nodes()}:
        return []
    return [f"cannot be looked at: {lines[-1] if lines else first_line(error)}"]
