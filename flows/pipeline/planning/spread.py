"""Sampling and scoring over the run's cluster."""

from typing import TypeVar

from annotation.config import ScoreConfig
from contracts.config.base import Config
from generation.config import SampleConfig
from runtime.cluster.config import RayCluster

S = TypeVar("S", bound=Config)


def spread(config: S, cluster: RayCluster | None) -> S:
    """A stage's config with the run's cluster, where it has none of its own."""
    match config:
        case SampleConfig(engine=engine) if engine.resources.cluster is None:
            spread_out = engine.resources.model_copy(update={"cluster": cluster})
            engine = engine.model_copy(update={"resources": spread_out})
            return config.model_copy(update={"engine": engine})
        case ScoreConfig(resources=resources) if resources.cluster is None:
            resources = resources.model_copy(update={"cluster": cluster})
            return config.model_copy(update={"resources": resources})
    return config
