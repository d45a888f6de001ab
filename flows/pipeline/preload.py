"""Imports that a run's processes share, made once by the process that they fork from."""

from collections.abc import Iterator, Sequence

from annotation.config import ScoreConfig
from flows.pipeline.planning.planned_step import PlannedStep
from generation.config import SampleConfig
from runtime.fork_server.running import ensure_server
from training.config import ReferenceConfig, TrainConfig
from training.launch.accelerate import shared_imports


def preload(steps: Sequence[PlannedStep]) -> None:
    """Begin to import what the processes of `steps` need, while this process goes on."""
    if steps:
        ensure_server(list(dict.fromkeys(_modules(steps))))


def _modules(steps: Sequence[PlannedStep]) -> Iterator[str]:
    """What is needed first comes first."""
    yield "flows.pipeline.checks.look_inside"
    for step in steps:
        yield step.stage.module
    for step in steps:
        match step.config:
            case SampleConfig(engine=engine) if engine.preloads:
                yield engine.preloads
            case ScoreConfig(annotators=annotators):
                yield from (annotator.preloads for annotator in annotators if annotator.preloads)
            case TrainConfig():
                yield from shared_imports("training.loop.worker")
            case ReferenceConfig():
                yield "training.loop.reference_worker"
    yield "runtime.stage_preload"  # after those, since some of them add to the path
    if any(isinstance(step.config, TrainConfig) for step in steps):
        yield "flows.report.plots"  # drawn beside the stages
