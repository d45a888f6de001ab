"""How a cluster is named in a config."""

from typing import Any

import pytest

from contracts.config.base import Config, check, identity
from contracts.errors import UserError
from generation.config import SampleConfig
from runtime.cluster.config import Cluster, RayCluster


class Section(Config):
    """A section with a cluster."""

    cluster: Cluster | None = None


@pytest.mark.parametrize(
    ("given", "cluster"),
    [
        (None, None),
        ("ray", RayCluster()),
        ({"kind": "ray"}, RayCluster(address="auto")),
        ({"address": "ray://head:10001"}, RayCluster(address="ray://head:10001")),
        ({"address": "10.0.0.1:6379"}, RayCluster(address="10.0.0.1:6379")),
    ],
)
def test_a_cluster_is_named_or_a_section(given: Any, cluster: RayCluster | None) -> None:
    section = check(Section, {"cluster": given}, origin="test")
    assert section.cluster == cluster
    assert check(Section, section.model_dump(mode="json"), origin="again") == section


@pytest.mark.parametrize("given", ["slurm", {"address": "head"}, {"address": "ray://me:pw@head:1"},
                                   {"nodes": 2}])  # fmt: skip
def test_what_is_no_cluster_is_refused_with_its_key(given: Any) -> None:
    with pytest.raises(UserError, match=r"cluster\.(kind|address|nodes)"):
        check(Section, {"cluster": given}, origin="test")


@pytest.mark.parametrize("address", ["head", "ray://", "http://head:1"])
def test_what_is_no_address_of_a_cluster_is_answered_with_those_that_are(address: str) -> None:
    with pytest.raises(UserError, match=r"address': write auto, host:6379 or ray://host:10001"):
        check(Section, {"cluster": {"address": address}}, origin="test")


def test_where_workers_run_is_outside_the_steps_identity() -> None:
    spread = {"engine": {"kind": "vllm", "resources": {"cluster": "ray"}}}
    assert identity(SampleConfig.model_validate(spread)) == identity(SampleConfig())
