"""The whole model in every process, gradients averaged by torch's DistributedDataParallel."""

import contextlib
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from training.engines.base import Engine
from training.engines.meeting import meeting
from training.engines.state import PlainState, RunState


class PlainEngine(Engine):
    """Strategy `none`."""

    def backward(self, loss: Float[Tensor, ""], last: bool) -> None:
        """Add the gradients of `loss`; processes exchange them in the last pass."""
        # accelerate would count the passes itself; how many a step has differs from step to step.
        self._accelerator.gradient_state._set_sync_gradients(last)
        self._accelerator.backward(loss)

    def accumulating(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Around a pass: no exchange of gradients before the last one."""
        return contextlib.nullcontext() if last else self._accelerator.no_sync(self._model)

    def step(self) -> float:
        """Clip, update the weights, and return the gradients' norm before clipping."""
        parameters = self._model.parameters()
        norm = self._accelerator.clip_grad_norm_(parameters, self.config.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(norm)

    def weights(self) -> dict[str, Tensor]:
        """The model's weights, which every process has."""
        return self._accelerator.get_state_dict(self._model)

    def _start(self) -> Any:
        from accelerate import Accelerator, PartialState

        cpu = not torch.cuda.is_available()
        PartialState(cpu=cpu, **meeting())
        return Accelerator(mixed_precision="bf16" if self.bfloat16 else "no", cpu=cpu)

    def _take(self, model: torch.nn.Module) -> None:
        self._model, self._optimizer = self._accelerator.prepare(model, self._adamw(model))

    def _as_asked(self) -> bool:
        return True

    def _state(self) -> RunState:
        model = self._accelerator.unwrap_model(self._model)
        return PlainState(model, self._optimizer.optimizer)
