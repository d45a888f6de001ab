"""What can be known of a run's cluster before anything is sampled: asked by a process beside this
one, so that this one is no driver of it."""

import json
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from annotation.config import ScoreConfig
from annotation.workers import placement as scoring
from contracts.checks import Check
from contracts.errors import OnPolicyError, UserError
from flows.pipeline.planning.planned_step import PlannedStep
from generation.config import SampleConfig
from generation.workers import placement as sampling
from runtime.cluster.config import RayCluster
from runtime.cluster.look import ANSWER, Look
from runtime.cluster.seating import Request
from runtime.module_process import answer_of
from training.config import ReferenceConfig, TrainConfig
from training.launch import over_cluster as training


def cluster_checks(models: Sequence[str], left: Sequence[PlannedStep]) -> Iterator[Check]:
    """That each cluster is there, with room for a worker, and its nodes like this machine.

    Args:
        models: what the workers load, as far as it is there.
        left: the steps that are to be made.
    """
    asked: dict[RayCluster, set[Request]] = {}
    shared: dict[RayCluster, Path] = {}
    for step in left:
        if request := request_of(step):
            asked.setdefault(request[0], set()).add(request[1])
            # Responses are read there, and policies written; who samples needs no folder.
            if not isinstance(step.config, SampleConfig):
                shared[request[0]] = step.run.parent
    for cluster, requests in asked.items():
        look = Look(cluster=cluster, requests=sorted(requests, key=str), models=list(models))
        told = look.model_dump_json()
        yield Check("resources.cluster", partial(_refuse, told, shared.get(cluster)))


def request_of(step: PlannedStep) -> tuple[RayCluster, Request] | None:
    """The workers that a step asks of a cluster."""
    match step.config:
        case SampleConfig(engine=engine) if engine.resources.data_parallel != 0:
            cluster, request = engine.resources.cluster, sampling.request_of(engine)
        case ScoreConfig() as config if scoring.is_spread(config):
            cluster, request = config.resources.cluster, scoring.request_of(config)
        case TrainConfig(resources=resources) | ReferenceConfig(resources=resources):
            cluster, request = resources.cluster, training.request_of(resources)
        case _:
            return None
    return (cluster, request) if cluster else None


def _refuse(asked: str, shared: Path | None) -> None:
    """
    Raises:
        UserError: the cluster will not do, and why.
    """
    if fault := _look(asked, shared):
        raise UserError(fault)


@cache
def _look(asked: str, shared: Path | None) -> str:
    """What is amiss with a cluster; empty if nothing is.

    Args:
        shared: the folder of the runs, where nodes read and write too; not looked at if it is not
            there yet.
    """
    with _mark_in(shared) as files:
        look = Look.model_validate_json(asked).model_copy(update={"files": files})
        try:
            return str(
                json.loads(answer_of("runtime.cluster.look", look.model_dump_json(), ANSWER))
            )
        except OnPolicyError as error:
            return str(error)


@contextmanager
def _mark_in(folder: Path | None) -> Iterator[list[Path]]:
    """A file that nodes see only where they share the folder."""
    if folder is None or not folder.is_dir():
        yield []
        return
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".seen-by-all-nodes-") as file:
        file.write(secrets.token_bytes(16))
        file.flush()
        yield [Path(file.name)]
