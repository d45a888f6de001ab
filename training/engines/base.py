"""One policy over any number of processes: plain, ZeRO or FSDP behind the same few calls."""

import contextlib
import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor

from contracts.errors import OnPolicyError
from runtime.device import dtype_of
from training.config import TrainConfig
from training.engines.meeting import PatientMeetings
from training.engines.state import RunState

log = logging.getLogger(__name__)


class Engine(ABC):
    """Forward, backward, step and state of a model that may be spread over processes."""

    zero_stage = 0

    def __init__(self, config: TrainConfig) -> None:
        """Join the process group; the model comes later, since ZeRO-3 splits it as it loads."""
        self.config = config
        self._accelerator = self._start()
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.first_here: bool = self._accelerator.is_local_main_process
        self.processes: int = self._accelerator.num_processes
        self._meetings = PatientMeetings(self.processes)
        self._model: Any = None
        self._optimizer: Any = None

    @property
    def bfloat16(self) -> bool:
        """Whether forward and backward run in bfloat16."""
        return uses_bfloat16(self.config)

    @property
    def weights_dtype(self) -> torch.dtype:
        """Dtype to load weights in; AdamW works on float32 masters in any case. Beside adapters
        they are frozen, and run in bfloat16 as they are."""
        return torch.bfloat16 if self.bfloat16 and self.config.lora else torch.float32

    @property
    def adapters_dtype(self) -> torch.dtype:
        """Dtype of the adapters that AdamW moves: in bfloat16 a step at 5e-6 moves one in ten."""
        return torch.float32

    @property
    def begins_empty(self) -> bool:
        """Whether `prepare` takes a model without weights here, since another process has them."""
        return False

    @property
    def name(self) -> str:
        """The class that runs the model, e.g. DeepSpeedEngine."""
        return type(self._model).__name__

    def prepare(self, model: torch.nn.Module) -> None:
        """Take the model over, and assert that what was asked for is what runs.

        Raises:
            OnPolicyError: the launch fell back to fewer processes or to another engine.
        """
        self._take(model)
        resources = self.config.resources
        processes = resources.processes
        # `accelerate launch --cpu` runs one plain process and exits 0, whatever was asked.
        if self.processes != processes or not self._as_asked():
            raise OnPolicyError(
                f"training was to run {processes} processes under {resources.strategy}, but runs "
                f"{self.processes} under {self.name}; check accelerate and DeepSpeed here"
            )
        log.info("%s: %d processes, %s, %s", self.name, self.processes, resources.strategy,
                 "bfloat16" if self.bfloat16 else "float32")  # fmt: skip

    def forward(self, batch: Any) -> Any:
        """The model's output."""
        return self._model(batch)

    @abstractmethod
    def backward(self, loss: Float[Tensor, ""], last: bool) -> None:
        """Add the gradients of `loss`, a sum over this process's share of the step.

        Processes' gradients are averaged, so `loss` is to be scaled by their number. `last`
        marks the step's last pass.
        """

    def accumulating(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Around a pass's forward and backward: gradients may be exchanged after the last only."""
        return contextlib.nullcontext()

    def set_learning_rate(self, rate: float) -> None:
        """Set the rate of this step, before its passes: ZeRO steps inside the last backward."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    @abstractmethod
    def step(self) -> float:
        """Update the weights; the gradients' norm before clipping."""

    def sum(self, values: Num[Tensor, "*shape"]) -> Num[Tensor, "*shape"]:
        """Sum of `values` over the processes."""
        return self._accelerator.reduce(values, reduction="sum")

    def wait(self) -> None:
        """Wait for every process, also for one that writes for longer than a collective may
        take; then all are known to have passed."""
        self._meetings.wait()
        self._accelerator.wait_for_everyone()

    def save(self, folder: Path) -> None:
        """Write model and optimizer state; every process calls it."""
        folder.mkdir(exist_ok=True)
        self._state().save(folder, self.rank, self.processes)

    def load(self, folder: Path, steps: int) -> None:
        """Read what `save` wrote after `steps` of AdamW's steps, on any resources; every process
        calls it."""
        self._state().load(folder, steps)

    @abstractmethod
    def weights(self) -> dict[str, Tensor] | None:
        """The whole model's weights on rank 0; every process calls it."""

    def leave(self) -> None:
        """Leave the process group, all together: a process that ends alone aborts the others."""
        self.wait()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    @abstractmethod
    def _start(self) -> Any:
        """An accelerator, in the process group."""

    @abstractmethod
    def _take(self, model: torch.nn.Module) -> None:
        """Make `_model` and `_optimizer` of it."""

    @abstractmethod
    def _as_asked(self) -> bool:
        """Whether the model runs under what the config names."""

    @abstractmethod
    def _state(self) -> RunState:
        """The model's and optimizer's state, to be written or read."""

    def _adamw(self, model: torch.nn.Module) -> torch.optim.AdamW:
        config = self.config
        return torch.optim.AdamW(
            _parameter_groups(model, config.weight_decay),
            lr=config.learning_rate, betas=config.adam_betas, eps=config.adam_epsilon,
            fused=fused_on(self.device, config),
        )  # fmt: skip


def fused_on(device: torch.device, config: TrainConfig) -> bool | None:
    """AdamW as one kernel, on a GPU: torch's other one there makes copies of 4 bytes a weight. What
    is offloaded is updated on the CPU, in torch's own way."""
    return True if device.type == "cuda" and config.resources.offload == "none" else None


def uses_bfloat16(config: TrainConfig) -> bool:
    """Whether the config's dtype means bfloat16 on this machine."""
    return dtype_of(config.dtype) == "bfloat16"


def _parameter_groups(model: torch.nn.Module, decay: float) -> list[dict[str, Any]]:
    """Matrices with weight decay, vectors (norms) without."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not decay:
        return [{"params": parameters, "weight_decay": 0.0}]

    def is_matrix(parameter: Any) -> bool:
        # A parameter that ZeRO-3 has split is flat; ds_shape is its own shape.
        return len(getattr(parameter, "ds_shape", parameter.shape)) >= 2

    return [
        {"params": [p for p in parameters if is_matrix(p)], "weight_decay": decay},
        {"params": [p for p in parameters if not is_matrix(p)], "weight_decay": 0.0},
    ]
