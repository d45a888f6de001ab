"""The GPUs of a run's cluster, counted for its plan by a process beside this one."""

import re
from collections.abc import Iterator, Sequence

from contracts.errors import OnPolicyError
from flows.pipeline.checks.cluster import request_of
from flows.pipeline.planning.planned_step import PlannedStep
from runtime.cluster.config import RayCluster
from runtime.cluster.count import ANSWER, Count, Counted
from runtime.cluster.seating import Request
from runtime.module_process import answer_of


def clusters_of(steps: Sequence[PlannedStep]) -> list[Counted]:
    """What each cluster that these steps work on has by now."""
    asked: dict[RayCluster, dict[str, Request]] = {}
    for step in steps:
        if request := request_of(step):
            name = re.sub(r"^round-\d+/", "", step.path)  # one line for all rounds
            asked.setdefault(request[0], {})[name] = request[1]
    return [_counted(cluster, requests) for cluster, requests in asked.items()]


def _counted(cluster: RayCluster, requests: dict[str, Request]) -> Counted:
    count = Count(cluster=cluster, requests=requests)
    try:
        answer = answer_of("runtime.cluster.count", count.model_dump_json(), ANSWER)
    except OnPolicyError as error:
        return Counted(address=cluster.address, fault=str(error))
    return Counted.model_validate_json(answer)


def cluster_lines(clusters: Sequence[Counted]) -> Iterator[str]:
    """A line for each cluster."""
    for one in clusters:
        if one.fault:
            yield f"The cluster's GPUs are not counted: {one.fault}"
            continue
        room = ", ".join(f"{name} {count:,}" for name, count in one.workers.items())
        yield (
            f"The cluster at {one.address} has {one.nodes:,} node{'' if one.nodes == 1 else 's'}, "
            f"{one.gpus:,} GPUs and {one.cpus:,} CPUs by now; workers: {room}"
        )
