"""Sampling, scoring and training over the run's cluster."""

from typing import TYPE_CHECKING, Any, TypeVar

from annotation.config import ScoreConfig
from contracts.config.base import Config
from generation.config import SampleConfig
from training.config import ReferenceConfig, TrainConfig

if TYPE_CHECKING:
    from flows.pipeline.config import FlowResources

S = TypeVar("S", bound=Config)


def spread(config: S, run: "FlowResources") -> S:
    """A stage's config with the run's cluster, where it has none of its own, and its store."""
    match config:
        case SampleConfig(engine=engine):
            spread_out = _within(run, engine.resources)
            engine = engine.model_copy(update={"resources": spread_out})
            return config.model_copy(update={"engine": engine})
        case ScoreConfig(resources=resources):
            return config.model_copy(update={"resources": _within(run, resources)})
        case TrainConfig(resources=resources):
            return config.model_copy(update={"resources": _within(run, resources)})
        case ReferenceConfig(resources=resources):
            return config.model_copy(update={"resources": _within(run, resources)})
    return config


def _within(run: "FlowResources", resources: Any) -> Any:
    cluster = run.cluster if resources.cluster is None else resources.cluster
    if cluster and cluster.store is None:
        cluster = cluster.model_copy(update={"store": run.store})
    return resources.model_copy(update={"cluster": cluster})
