"""Weights and optimizer state of a run, parameter by parameter: whole, so that a checkpoint can
be read by any number of processes, under any ZeRO stage, offloaded or not.

DeepSpeed's own checkpoints hold each process's slice and ask for the same processes again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

# AdamW's averages; with the float32 weight and the count of steps they are its whole state.
AVERAGES = ("exp_avg", "exp_avg_sq")
WEIGHT = "weight"
# One file a process would be held in the host's memory whole before it is written.
_FILE_BYTES = 2 << 30


class RunState:
    """The state of a model that accelerate has prepared."""

    def __init__(self, model: torch.nn.Module, optimizer: Any, zero_stage: int) -> None:
        """`optimizer`: torch's own AdamW without DeepSpeed, else DeepSpeed's around it."""
        self._named = [
            (name, parameter)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]
        self._optimizer = optimizer
        self._stage = zero_stage

    def save(self, folder: Path, rank: int, processes: int) -> None:
        """Write every n-th parameter's state; all processes call it together."""
        held: dict[str, torch.Tensor] = {}
        files = 0
        for number, (name, parameter) in enumerate(self._named):
            for kind in (WEIGHT, *AVERAGES):
                whole = self._whole(parameter, kind)
                if number % processes == rank:
                    held[f"{kind}/{name}"] = whole.detach().to("cpu", copy=True).contiguous()
            if sum(tensor.nbytes for tensor in held.values()) > _FILE_BYTES:
                save_file(held, folder / f"state-{rank:05d}-{files:05d}.safetensors")
                held, files = {}, files + 1
        if held:
            save_file(held, folder / f"state-{rank:05d}-{files:05d}.safetensors")

    def load(self, folder: Path, steps: int) -> None:
        """Read what any number of processes saved after `steps` steps; all call it together."""
        self._make_averages(steps)
        place = {name: path for path in sorted(folder.glob("state-*")) for name in _names(path)}
        for name, parameter in self._named:
            for kind in (WEIGHT, *AVERAGES):
                key = f"{kind}/{name}"
                with safe_open(place[key], "pt") as file:
                    self._put(parameter, kind, file.get_tensor(key))

    def _whole(self, parameter: Any, kind: str) -> torch.Tensor:
        if self._stage == 0:
            return parameter if kind == WEIGHT else self._optimizer.state[parameter][kind]
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if kind == WEIGHT:
            return safe_get_full_fp32_param(parameter)
        return safe_get_full_optimizer_state(parameter, kind)

    @torch.no_grad()
    def _put(self, parameter: Any, kind: str, whole: torch.Tensor) -> None:
        if self._stage == 0:
            target = parameter if kind == WEIGHT else self._optimizer.state[parameter][kind]
            target.copy_(whole)
        elif self._stage == 3:
            _put_slice(parameter, kind, whole)
        elif kind == WEIGHT:
            parameter.set_full_hp_param(whole)
            parameter.copy_(whole)
        else:
            parameter.set_full_hp_param(whole, kind)

    def _make_averages(self, steps: int) -> None:
        """AdamW makes its state at its first step; a resumed run needs it before."""
        if self._stage == 0:
            adam, flat = self._optimizer, [parameter for _, parameter in self._named]
        elif self._stage == 3:
            adam, flat = self._optimizer.optimizer, self._optimizer.fp32_partitioned_groups_flat
        else:
            adam, flat = self._optimizer.optimizer, self._optimizer.single_partition_of_fp32_groups
        for parameter in flat:
            averages = {kind: torch.zeros_like(parameter.detach()) for kind in AVERAGES}
            adam.state[parameter] = {"step": torch.tensor(float(steps)), **averages}
        if self._stage == 2:
            self._optimizer._lazy_init_hp_params_optimizer_state()


def _put_slice(parameter: Any, kind: str, whole: torch.Tensor) -> None:
    """This process's slice under ZeRO-3, and the weight that the forward pass gathers."""
    from deepspeed.runtime.zero.partition_parameters import GatheredParameters
    from deepspeed.utils import (
        safe_get_local_fp32_param,
        safe_set_local_fp32_param,
        safe_set_local_optimizer_state,
    )

    held = safe_get_local_fp32_param(parameter)
    rank = torch.distributed.get_rank()
    # The last process's slice is padded.
    mine = whole.flatten()[rank * held.numel() : (rank + 1) * held.numel()]
    mine = torch.nn.functional.pad(mine, (0, held.numel() - mine.numel())).to(held.device)
    if kind != WEIGHT:
        safe_set_local_optimizer_state(parameter, mine, kind)
        return
    safe_set_local_fp32_param(parameter, mine)
    with GatheredParameters([parameter], modifier_rank=0):
        if rank == 0:
            parameter.copy_(whole)


def _names(path: Path) -> Iterator[str]:
    with safe_open(path, "pt") as file:
        yield from file.keys()
