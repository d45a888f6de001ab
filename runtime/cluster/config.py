"""Which cluster a run's workers are spread over. Ray itself is imported where it is used."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from contracts.config.base import Resources
from runtime.store.address import StoreAddress


def _checked(address: str) -> str:
    if not re.fullmatch(r"auto|(ray://)?[^\s/@]+:\d+", address):
        raise ValueError("write auto, host:6379 or ray://host:10001")
    return address


class RayCluster(Resources):
    """A Ray cluster that runs already; `cluster: ray` stands for its defaults."""

    kind: Literal["ray"] = "ray"
    address: Annotated[str, AfterValidator(_checked)] = "auto"
    """`auto`: the cluster of which this machine is a node. `ray://host:10001`: one that it is
    none of."""
    store: StoreAddress | None = None
    """Where nodes fetch models that lie in folders which they do not see; the run's
    `resources.store`, unless given."""


def _by_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Cluster = Annotated[RayCluster, BeforeValidator(_by_name)]
"""`ray`, or a section with its address."""
