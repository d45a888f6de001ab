"""What can be known of a run's cluster before anything is sampled: asked by a process beside this
one, so that this one is no driver of it."""

import json
from collections.abc import Iterator, Sequence
from functools import cache, partial

from annotation.config import ScoreConfig
from annotation.workers import placement as scoring
from contracts.checks import Check
from contracts.errors import UserError
from flows.pipeline.planning.planned_step import PlannedStep
from generation.config import SampleConfig
from generation.workers import placement as sampling
from runtime.cluster.config import RayCluster
from runtime.cluster.look import ANSWER, Look
from runtime.cluster.seating import Request
from runtime.module_process import start_module


def cluster_checks(models: Sequence[str], left: Sequence[PlannedStep]) -> Iterator[Check]:
    """That each cluster is there, with room for a worker, and its nodes like this machine.

    Args:
        models: what the workers load, as far as it is there.
        left: the steps that are to be made.
    """
    asked: dict[RayCluster, set[Request]] = {}
    for step in left:
        if request := request_of(step):
            asked.setdefault(request[0], set()).add(request[1])
    for cluster, requests in asked.items():
        look = Look(cluster=cluster, requests=list(requests), models=list(models))
        yield Check("resources.cluster", partial(_refuse, look.model_dump_json()))


def request_of(step: PlannedStep) -> tuple[RayCluster, Request] | None:
    """The workers that a step asks of a cluster."""
    match step.config:
        case SampleConfig(engine=engine) if engine.resources.data_parallel != 0:
            cluster, request = engine.resources.cluster, sampling.request_of(engine)
        case ScoreConfig() as config if scoring.is_spread(config):
            cluster, request = config.resources.cluster, scoring.request_of(config)
        case _:
            return None
    return (cluster, request) if cluster else None


def _refuse(asked: str) -> None:
    """
    Raises:
        UserError: the cluster will not do, and why.
    """
    if fault := _look(asked):
        raise UserError(fault)


@cache
def _look(asked: str) -> str:
    """What is amiss with a cluster; empty if nothing is."""
    process = start_module("runtime.cluster.look", [asked], {})
    assert process.stdout is not None
    last = "no word"
    for line in process.stdout:
        if line.startswith(ANSWER):
            process.wait()
            return str(json.loads(line[len(ANSWER) :]))
        last = line.strip() or last
    return f"looking at the cluster ended with code {process.wait()}: {last}"
