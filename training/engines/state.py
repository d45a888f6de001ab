"""Weights and optimizer state of a run, parameter by parameter: whole, so that a checkpoint can
be read by any number of processes, under ZeRO, FSDP or neither, offloaded or not.

DeepSpeed's and torch's own checkpoints hold each process's slice and ask for the same engine.
"""

from abc import ABC, abstractmethod
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


class RunState(ABC):
    """The state of a model that an engine has taken over."""

    def __init__(self, model: torch.nn.Module, optimizer: Any) -> None:
        """`optimizer`: torch's own AdamW without DeepSpeed, else DeepSpeed's around it."""
        self._named = [
            (name, parameter)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]
        self._optimizer = optimizer

    def save(self, folder: Path, rank: int, processes: int) -> None:
        """Write every n-th parameter's state; all processes call it together."""
        held: dict[str, torch.Tensor] = {}
        files = 0
        for number, (name, parameter) in enumerate(self._named):
            for kind in (WEIGHT, *AVERAGES):
                # Gathering takes all processes, whichever of them keeps the tensor.
                gathered = self._whole(parameter, kind)
                if number % processes == rank:
                    held[f"{kind}/{name}"] = gathered.detach().to("cpu", copy=True).contiguous()
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

    @abstractmethod
    def _whole(self, parameter: Any, kind: str) -> torch.Tensor:
        """A parameter's weight or average, gathered from all processes."""

    @abstractmethod
    def _put(self, parameter: Any, kind: str, whole: torch.Tensor) -> None:
        """Set it, or this process's slice of it."""

    @abstractmethod
    def _make_averages(self, steps: int) -> None:
        """AdamW makes its state at its first step; a resumed run needs it before."""


class PlainState(RunState):
    """Whole parameters in every process."""

    def _whole(self, parameter: Any, kind: str) -> torch.Tensor:
        return self._held(parameter, kind)

    @torch.no_grad()
    def _put(self, parameter: Any, kind: str, whole: torch.Tensor) -> None:
        self._held(parameter, kind).copy_(whole)

    def _held(self, parameter: Any, kind: str) -> torch.Tensor:
        return parameter if kind == WEIGHT else self._optimizer.state[parameter][kind]

    def _make_averages(self, steps: int) -> None:
        make_averages(self._optimizer, [parameter for _, parameter in self._named], steps)


def make_averages(adam: Any, parameters: list[Any], steps: int) -> None:
    """AdamW's state of `parameters` after `steps` steps, its averages still 0."""
    for parameter in parameters:
        averages = {kind: torch.zeros_like(parameter.detach()) for kind in AVERAGES}
        # A kernel that is fused reads the count where the weights are, another one on the CPU.
        where = parameter.device if adam.defaults["fused"] else "cpu"
        count = torch.tensor(float(steps), device=where)
        adam.state[parameter] = {"step": count, **averages}


def _names(path: Path) -> Iterator[str]:
    with safe_open(path, "pt") as file:
        yield from file.keys()
