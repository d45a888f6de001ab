"""A run's state under DeepSpeed's ZeRO stages."""

from pathlib import Path
from typing import Any

import torch

from training.engines.state import WEIGHT, RunState, make_averages


class ZeroState(RunState):
    """Parameters whose float32 masters and averages are split (stage 2), or wholly (stage 3)."""

    def __init__(self, model: torch.nn.Module, optimizer: Any, stage: int) -> None:
        super().__init__(model, optimizer)
        self._stage = stage

    def save(self, folder: Path, rank: int, processes: int) -> None:
        """Write every n-th parameter's state; all processes call it together."""
        if self._stage == 2:
            self._link()
        super().save(folder, rank, processes)

    def _whole(self, parameter: Any, kind: str) -> torch.Tensor:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if kind == WEIGHT:
            return safe_get_full_fp32_param(parameter)
        return safe_get_full_optimizer_state(parameter, kind)

    @torch.no_grad()
    def _put(self, parameter: Any, kind: str, whole: torch.Tensor) -> None:
        if self._stage == 3:
            _put_slice(parameter, kind, whole)
        elif kind == WEIGHT:
            parameter.set_full_hp_param(whole)
            parameter.copy_(whole)
        else:
            parameter.set_full_hp_param(whole, kind)

    def _make_averages(self, steps: int) -> None:
        flat = (
            self._optimizer.fp32_partitioned_groups_flat
            if self._stage == 3
            else self._optimizer.single_partition_of_fp32_groups
        )
        make_averages(self._optimizer.optimizer, flat, steps)
        if self._stage == 2:
            self._link()

    def _link(self) -> None:
        """Let stage 2's parameters know their averages. DeepSpeed 0.19.8 does so once, after the
        first group's first step, when the groups behind it (`weight_decay` makes two) have none."""
        self._optimizer._hp_optimizer_states_linked = False
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
