"""ArmoRM: raw objectives, and gating that weighs them."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from annotation.annotators.base import RewardModel, ScoreResources, Setting
from contracts.checks import Check
from contracts.errors import UserError
from contracts.models.model import local_folder
from contracts.models.weights import read_config

if TYPE_CHECKING:
    from annotation.scorers.protocol import Scorer


class ArmoRMConfig(RewardModel):
    """A reward model of ArmoRM's kind: raw objectives and gating that weighs them."""

    preloads: ClassVar[str] = "annotation.armorm.scorer"
    kind: Literal["armorm"] = "armorm"
    weights: dict[str, float] | None = None
    """Weights of your own over the raw objectives, by name, in place of the gating's."""
    engine: Literal["native", "vllm"] = "native"
    """What computes it: our own batches, the faster ones on a CPU, or vLLM with its prefix cache.
    In the identity, for in bfloat16 their last bits decide near ties differently."""

    def build(self, setting: Setting) -> "Scorer":
        """ArmoRM in the engine that the config names."""
        if self.engine == "vllm":
            from annotation.armorm.vllm_scorer import open_vllm

            return open_vllm(self, setting.reference, setting.resources)
        from annotation.armorm.scorer import open_armorm

        return open_armorm(self, setting.reference, setting.resources)

    def refuse_headless(self) -> None:
        """Refuse a model without ArmoRM's regression and gating layers."""
        from annotation.scorers.heads import refuse_headless

        refuse_headless(self.kind, self.reference)

    def checks(self, key: str) -> Iterator[Check]:
        """Checks of its heads, of the config's own `weights`, and of what vLLM can run."""
        yield from super().checks(key)
        yield Check(f"{key}.weights", self._refuse_unknown_objectives, of=self.reference)
        yield Check(f"{key}.engine", self._refuse_unfit_for_vllm, of=self.reference)

    def exact(self, resources: ScoreResources) -> Self | None:
        """The same annotator in float32, in our own batches."""
        exact = super().exact(resources)
        return exact and exact.model_copy(update={"engine": "native"})

    def _refuse_unknown_objectives(self) -> None:
        from annotation.scorers.heads import objective_names

        if self.weights and (folder := local_folder(self.reference)):
            names = objective_names(read_config(folder).get("num_objectives", 19))
            if unknown := sorted(set(self.weights) - set(names)):
                raise UserError(
                    f"no objective is named {unknown[0]!r}; they are {', '.join(names)}"
                )

    def _refuse_unfit_for_vllm(self) -> None:
        if self.engine != "vllm":
            return
        if not find_spec("vllm"):
            raise UserError("vLLM is not installed: install requirements/cpu.txt or gpu.txt, or "
                            "set `engine: native`")  # fmt: skip
        folder = local_folder(self.reference)
        positions = read_config(folder).get("max_position_embeddings") if folder else None
        if positions and self.max_length > positions:
            raise UserError(f"max_length is {self.max_length}, and vLLM takes no more than the "
                            f"model's {positions} positions; lower it")  # fmt: skip
