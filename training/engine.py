"""One policy under accelerate: plain, ZeRO-2 or ZeRO-3, behind the same few calls."""

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

import torch

from contracts.errors import OnPolicyError
from training.config import TrainConfig
from training.deepspeed_config import ACCUMULATION, deepspeed_config
from training.state import RunState

log = logging.getLogger(__name__)


class Engine:
    """Forward, backward, step and state of a model that may be spread over processes."""

    def __init__(self, config: TrainConfig) -> None:
        """Join the process group; the model comes later, since ZeRO-3 splits it as it loads."""
        self.config = config
        self.zero_stage = {"zero2": 2, "zero3": 3}.get(config.resources.strategy, 0)
        self._accelerator = self._deepspeed() if self.zero_stage else self._plain()
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.processes: int = self._accelerator.num_processes
        self._model: Any = None
        self._optimizer: Any = None

    @property
    def bfloat16(self) -> bool:
        """Whether forward and backward run in bfloat16."""
        return uses_bfloat16(self.config)

    @property
    def weights_dtype(self) -> torch.dtype:
        """Dtype to load weights in: ZeRO keeps float32 masters itself, autocast needs them."""
        return torch.bfloat16 if self.bfloat16 and self.zero_stage else torch.float32

    def prepare(self, model: torch.nn.Module) -> None:
        """Take the model over, and assert that what was asked for is what runs.

        Raises:
            OnPolicyError: the launch fell back to fewer processes or to no DeepSpeed.
        """
        config = self.config
        optimizer = torch.optim.AdamW(
            _parameter_groups(model, config.weight_decay),
            lr=config.learning_rate, betas=config.adam_betas, eps=config.adam_epsilon,
        )  # fmt: skip
        self._model, self._optimizer = self._accelerator.prepare(model, optimizer)
        self._assert_as_asked()

    def forward(self, batch: Any) -> Any:
        """The model's output."""
        return self._model(batch)

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """Add the gradients of `loss`, a sum over this process's share of the step.

        Processes' gradients are averaged, so `loss` is to be scaled by their number. `last`
        marks the step's last pass, when they are exchanged.
        """
        self._accelerator.gradient_state._set_sync_gradients(last)
        if self.zero_stage:
            self._accelerator.backward(loss, scale_wrt_gas=False)
        else:
            self._accelerator.backward(loss)

    def accumulating(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Around a pass's forward and backward: no exchange of gradients before the last."""
        return contextlib.nullcontext() if last else self._accelerator.no_sync(self._model)

    def set_learning_rate(self, rate: float) -> None:
        """The rate of the step at hand; ZeRO steps inside its last backward pass."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    def step(self) -> float:
        """Update the weights; the gradients' norm before clipping."""
        if self.zero_stage:
            return float(self._model.get_global_grad_norm())
        parameters = self._model.parameters()
        norm = self._accelerator.clip_grad_norm_(parameters, self.config.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(norm)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum of `values` over the processes."""
        return self._accelerator.reduce(values, reduction="sum")

    def wait(self) -> None:
        """Wait for every process."""
        self._accelerator.wait_for_everyone()

    def save(self, folder: Path) -> None:
        """Write model and optimizer state; every process calls it."""
        folder.mkdir(exist_ok=True)
        self._state().save(folder, self.rank, self.processes)

    def load(self, folder: Path, steps: int) -> None:
        """Read what `save` wrote after `steps` steps, on any resources; every process calls it."""
        self._state().load(folder, steps)

    def _state(self) -> RunState:
        if self.zero_stage:
            return RunState(self._model.module, self._model.optimizer, self.zero_stage)
        model = self._accelerator.unwrap_model(self._model)
        return RunState(model, self._optimizer.optimizer, 0)

    def weights(self) -> dict[str, torch.Tensor]:
        """The whole model's weights on rank 0; every process calls it."""
        return self._accelerator.get_state_dict(self._model)

    @property
    def name(self) -> str:
        """The class that runs the model, e.g. DeepSpeedEngine."""
        return type(self._model).__name__

    def leave(self) -> None:
        """Leave the process group, all together: a process that ends alone aborts the others."""
        self.wait()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    def _deepspeed(self) -> Any:
        from accelerate import Accelerator, DeepSpeedPlugin, PartialState

        if not torch.cuda.is_available():
            _cpu_only()
            PartialState(backend="gloo")
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

    def _plain(self) -> Any:
        from accelerate import Accelerator

        return Accelerator(
            mixed_precision="bf16" if self.bfloat16 else "no", cpu=not torch.cuda.is_available()
        )

    def _assert_as_asked(self) -> None:
        # `accelerate launch --cpu` runs one plain process and exits 0, whatever was asked.
        stage = self._model.zero_optimization_stage() if self._is_deepspeed() else 0
        asked = self.config.resources.processes, self.zero_stage
        if (self.processes, stage) != asked:
            raise OnPolicyError(
                f"training was to run {asked[0]} processes at ZeRO stage {asked[1]}, but runs "
                f"{self.processes} at stage {stage}; check accelerate and DeepSpeed here"
            )
        log.info("%s: %d processes, ZeRO stage %d, %s", self.name, self.processes, stage,
                 "bfloat16" if self.bfloat16 else "float32")  # fmt: skip

    def _is_deepspeed(self) -> bool:
        if not self.zero_stage:
            return False
        from deepspeed import DeepSpeedEngine

        return isinstance(self._model, DeepSpeedEngine)


def uses_bfloat16(config: TrainConfig) -> bool:
    """Whether the config's dtype means bfloat16 on this machine."""
    return config.dtype == "bfloat16" or (config.dtype == "auto" and torch.cuda.is_available())


def _cpu_only() -> None:
    """Settings under which DeepSpeed runs on processors alone, over gloo."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    # DeepSpeed's Muon compiles functions on import, which nothing here calls: 2 s of each start.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    import deepspeed.ops

    # Probing for ops runs compilers, and its shared-memory all-reduce is built at first use
    # (g++ and ninja, half a minute). Gloo does without.
    deepspeed.ops.__dict__["__compatible_ops__"] = {}


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
