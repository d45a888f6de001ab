"""A run's cluster in the configs of its stages."""

from pathlib import Path

from annotation.config import ScoreConfig
from contracts.config.base import identity
from flows.pipeline.config import FlowResources
from flows.pipeline.load_run import load_run
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.spread import spread
from generation.config import SampleConfig
from runtime.cluster.config import RayCluster
from training.config import TrainConfig

DEMO = Path(__file__).parents[5] / "configs" / "demo.yaml"
RAY = FlowResources.model_validate({"cluster": "ray"})


def test_sampling_scoring_and_training_get_the_runs_cluster_and_stay_the_same_steps() -> None:
    config = load_run(DEMO, ["name=spread"])
    here = plan(config)
    spread_out = plan(config.model_copy(update={"resources": RAY}))
    clusters = []
    for one, other in zip(here, spread_out, strict=True):
        assert identity(one.config) == identity(other.config)
        match other.config:
            case SampleConfig(engine=engine):
                clusters.append(engine.resources.cluster)
            case ScoreConfig(resources=resources) | TrainConfig(resources=resources):
                clusters.append(resources.cluster)
    assert len(clusters) >= 4
    assert set(clusters) == {RayCluster()}


def test_nodes_fetch_models_from_the_runs_store_and_a_section_may_have_a_cluster_of_its_own() -> (
    None
):
    store = FlowResources.model_validate({"store": "s3://bucket/runs"})
    own = RayCluster(address="head:6379")
    sampling = SampleConfig.model_validate(
        {"engine": {"kind": "vllm", "resources": {"cluster": own}}}
    )
    assert spread(sampling, store).engine.resources.cluster == RayCluster(
        address="head:6379", store="s3://bucket/runs"
    )
    assert spread(SampleConfig(), store) == SampleConfig()
