"""What every engine's config is, and how the engine is built.

A config is read where no engine is installed, so what runs a model is imported where it is built.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from contracts.config.base import Config, Resources
from runtime.cluster.config import Cluster

if TYPE_CHECKING:
    from generation.engines import Engine, Job
    from generation.engines.device import Device


class EngineResources(Resources):
    """How an engine uses the machine, and what it may go wrong."""

    data_parallel: int | None = Field(None, ge=0)
    """Worker processes, each with a copy of the model; null is one for every `tensor_parallel`
    GPUs that can be seen, or one on the CPU. 0 samples in the stage's own process, where a crash
    of the engine ends the stage."""
    hang_timeout: float | None = Field(600, ge=3)
    """Seconds without a sign of life from a ready worker that has requests, after which it is
    killed and they are treated as in a crash; null waits for ever. A sign comes with each token."""
    load_timeout: float | None = Field(1800, ge=3)
    """Seconds in which a worker must have loaded the policy, after which it is given up: the
    others go on, and the last one's end is the stage's. 70B from a slow disk may take 20 minutes;
    null waits for ever."""
    cluster: Cluster | None = None
    """Where the workers run: null is this machine. The run's `resources.cluster`, unless given."""
    max_error_share: float = Field(0.01, ge=0, le=1)
    """Share of the requests that may fail (each is told in `_errors.parquet`) before the stage
    gives up."""


class EngineVariant(Config, ABC):
    """What runs a model, and how."""

    preloads: ClassVar[str] = ""
    """The module that the workers' common parent imports while prompts are planned."""
    kind: str
    resources: EngineResources = EngineResources()

    @abstractmethod
    def build(self, job: "Job") -> "Engine":
        """The engine in this process, its model loaded.

        Raises:
            UserError: it is not installed, or the model cannot be loaded.
        """

    @property
    def batch(self) -> int:
        """Requests that are sampled as one."""
        return 1

    @property
    def gpus_each(self) -> int:
        """GPUs that share one copy of the model."""
        return 1

    def refuse_not_installed(self) -> None:
        """Refuse an engine whose packages are not installed.

        Raises:
            UserError: what it needs is not there.
        """

    def refuse_unable(self, device: "Device") -> None:
        """Refuse a device on which the engine cannot do what the config asks for.

        Raises:
            UserError: the device cannot do what the config asks for.
        """

    def set_environment(self, on_cpu: bool) -> None:
        """What it reads from the environment as it is imported."""
