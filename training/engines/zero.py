"""The model under DeepSpeed: ZeRO-2 or ZeRO-3, offloaded or not."""

import os
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from training.config import TrainConfig
from training.engines.base import Engine
from training.engines.deepspeed_config import ACCUMULATION, deepspeed_config
from training.engines.meeting import meeting
from training.engines.state import RunState
from training.engines.state_zero import ZeroState


class ZeroEngine(Engine):
    """Strategies `zero2` and `zero3`."""

    def __init__(self, config: TrainConfig) -> None:
        """Read the ZeRO stage from the strategy's name."""
        self.zero_stage = int(config.resources.strategy[-1])
        super().__init__(config)

    @property
    def weights_dtype(self) -> torch.dtype:
        """DeepSpeed keeps float32 masters itself."""
        return torch.bfloat16 if self.bfloat16 else torch.float32

    @property
    def adapters_dtype(self) -> torch.dtype:
        """The dtype of LoRA's weights: the same as that of the others."""
        return self.weights_dtype

    def backward(self, loss: Float[Tensor, ""], last: bool) -> None:
        """Add the gradients of `loss`; DeepSpeed updates the weights in the last pass."""
        self._accelerator.gradient_state._set_sync_gradients(last)
        self._accelerator.backward(loss, scale_wrt_gas=False)

    def accumulating(self, last: bool) -> Any:
        """Around a pass: no exchange of gradients before the last one."""
        return super().accumulating(last) if last else self._accelerator.no_sync(self._model)

    def step(self) -> float:
        """The update itself is done by the last backward pass."""
        return float(self._model.get_global_grad_norm())

    def weights(self) -> dict[str, Tensor] | None:
        """The whole model's weights on rank 0, adapters in float32."""
        weights = self._accelerator.get_state_dict(self._model)
        if self.config.lora:
            masters = self._masters()  # what is merged is summed in float32
            weights = {**weights, **masters} if weights else None
        return weights

    def _masters(self) -> dict[str, Tensor]:
        """Float32 weights of what is trained; every process calls it."""
        from deepspeed.utils import safe_get_full_fp32_param

        named = self._model.module.named_parameters()
        weights = {name: safe_get_full_fp32_param(p) for name, p in named if p.requires_grad}
        return {name: value.cpu() for name, value in weights.items()}

    def _start(self) -> Any:
        from accelerate import Accelerator, DeepSpeedPlugin, PartialState

        cuda = torch.cuda.is_available()
        if not cuda:
            cpu_only()
        PartialState(backend="nccl" if cuda else "gloo", **meeting())
        plugin = DeepSpeedPlugin(
            hf_ds_config=deepspeed_config(self.config, self.bfloat16),
            gradient_accumulation_steps=ACCUMULATION,
            zero3_init_flag=self.zero_stage == 3,
        )
        return Accelerator(
            mixed_precision="bf16" if self.bfloat16 else "no",
            deepspeed_plugin=plugin,
            gradient_accumulation_steps=ACCUMULATION,
        )

    def _take(self, model: torch.nn.Module) -> None:
        self._model, self._optimizer = self._accelerator.prepare(model, self._adamw(model))

    def _as_asked(self) -> bool:
        from deepspeed import DeepSpeedEngine

        if not isinstance(self._model, DeepSpeedEngine):
            return False
        return self._model.zero_optimization_stage() == self.zero_stage

    def _state(self) -> RunState:
        return ZeroState(self._model.module, self._model.optimizer, self.zero_stage)


def cpu_only() -> None:
    """Settings under which DeepSpeed runs on processors alone, over gloo."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    # DeepSpeed's Muon compiles functions on import, which nothing here calls: 2 s of each start.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    import deepspeed.ops

    # Probing for ops runs compilers, and its shared-memory all-reduce is built at first use
    # (g++ and ninja, half a minute). Gloo does without.
    deepspeed.ops.__dict__["__compatible_ops__"] = {}
