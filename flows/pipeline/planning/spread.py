"""Sampling, scoring and training over the run's cluster."""

from typing import Any, TypeVar

from annotation.config import ScoreConfig
from contracts.config.base import Config
from generation.config import SampleConfig
from runtime.cluster.config import RayCluster
from training.config import ReferenceConfig, TrainConfig

S = TypeVar("S", bound=Config)


def spread(config: S, cluster: RayCluster | None) -> S:
    """A stage's config with the run's cluster, where it has none of its own."""
    match config:
        case SampleConfig(engine=engine):
            spread_out = _within(cluster, engine.resources)
            engine = engine.model_copy(update={"resources": spread_out})
            return config.model_copy(update={"engine": engine})
        case ScoreConfig(resources=resources):
            return config.model_copy(update={"resources": _within(cluster, resources)})
        case TrainConfig(resources=resources):
            return config.model_copy(update={"resources": _within(cluster, resources)})
        case ReferenceConfig(resources=resources):
            return config.model_copy(update={"resources": _within(cluster, resources)})
    return config


def _within(cluster: RayCluster | None, resources: Any) -> Any:
    own = resources.cluster
    return resources.model_copy(update={"cluster": cluster if own is None else own})
