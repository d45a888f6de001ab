"""Plain transformers."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from generation.engine_kinds.base import EngineVariant

if TYPE_CHECKING:
    from generation.engines import Engine, Job


class TransformersEngine(EngineVariant):
    """Plain transformers, where vLLM cannot be installed."""

    preloads: ClassVar[str] = "generation.engines.transformers"
    kind: Literal["transformers"] = "transformers"
    batch_size: int = Field(16, ge=1)
    """Samples decoded together. It is in the step's identity: padding moves the last bits."""

    def build(self, job: "Job") -> "Engine":
        """The policy in this process."""
        from generation.engines.transformers import Transformers

        return Transformers(job, self)

    @property
    def batch(self) -> int:
        """Requests that are sampled as one."""
        return self.batch_size
