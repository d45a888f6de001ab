"""The model under torch's FSDP2 (`fully_shard`): each layer gathered when it runs.

Not through accelerate's FSDP plugin, which its state knows for GPUs alone: on the CPU over gloo
it is passed over without a word, and could not be tested.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from training.engines.base import Engine
from training.engines.meeting import PatientMeetings, meeting
from training.engines.state import PlainState, RunState


class FsdpEngine(Engine):
    """Strategy `fsdp`. The float32 masters, gradients and averages are split over processes."""

    @property
    def begins_empty(self) -> bool:
        """Rank 0 has the weights: one copy in float32 in the host's memory, 37 GB for Gemma-2-9B,
        where one in each of eight processes would be 296."""
        return self.rank != 0

    def backward(self, loss: Float[Tensor, ""], last: bool) -> None:
        """Gradients are exchanged at once: until then they would be held whole."""
        loss.backward()

    def step(self) -> float:
        """Clip, update the weights, and return the gradients' norm before clipping."""
        parameters = [p for p in self._model.parameters() if p.requires_grad]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(_gathered(norm))

    def weights(self) -> dict[str, Tensor] | None:
        """The whole model's weights, gathered on rank 0's CPU; None on the others."""
        on_cpu = {}
        for name, value in self._model.state_dict().items():
            gathered = _gathered(value)
            if self.rank == 0:
                on_cpu[name] = gathered.cpu()
        return on_cpu

    def _start(self) -> Any:
        return join_processes()

    def _take(self, model: torch.nn.Module) -> None:
        dtype = torch.bfloat16 if self.bfloat16 else torch.float32
        self._model = split(model, self.device, dtype, self._meetings)
        self._optimizer = self._adamw(self._model)

    def _as_asked(self) -> bool:
        return isinstance(self._model, FSDPModule)

    def _state(self) -> RunState:
        return _FsdpState(self._model, self._optimizer)


def join_processes() -> Any:
    """An accelerator in a process group, be it of one process."""
    from accelerate import Accelerator, PartialState

    cpu = not torch.cuda.is_available()
    PartialState(cpu=cpu, **meeting())
    if not torch.distributed.is_initialized():
        store = torch.distributed.HashStore()  # type: ignore[attr-defined]
        backend = "gloo" if cpu else "nccl"
        torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    return Accelerator(cpu=cpu)


def split(
    model: torch.nn.Module, device: torch.device, dtype: torch.dtype, meetings: PatientMeetings
) -> Any:
    """A PairScorer whose parameters are split over all processes, and run in `dtype`.

    They and the buffers are rank 0's; the other processes' model may be on the meta device.
    """
    # Rank 0 alone reads the weights: a 70B model's 140 GB take longer than a collective may.
    meetings.wait()
    whole = _emptied(model)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    # Gradients are summed over processes in float32, as under ZeRO (`deepspeed_config`).
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    layers: Any = model.get_submodule("policy.model.layers")
    # A unit a layer: of Gemma-2-9B's 9.2 billion weights, 0.2 are gathered at a time. The outer
    # unit holds embeddings, last norm and head.
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    sharded: Any = fully_shard(model, mesh=mesh, mp_policy=policy)
    _fill(sharded.to_empty(device=device), whole)
    return sharded


def _emptied(model: torch.nn.Module) -> dict[str, Tensor]:
    """A model's parameters and buffers, which it has on the meta device from here on."""
    whole = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    # Not by `Module.to`, which would make two parameters of a tied one.
    empty = {p: torch.nn.Parameter(p.to("meta"), p.requires_grad) for p in model.parameters()}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, empty[parameter])
    return {name: tensor.detach() for name, tensor in whole.items()}


@torch.no_grad()
def _fill(sharded: Any, whole: dict[str, Tensor]) -> None:
    """Give each process its slices of rank 0's parameters, and all of its buffers; one tensor at a
    time is whole on the device."""
    first = torch.distributed.get_rank() == 0

    def sent(name: str, held: Tensor) -> Tensor:
        own = whole.pop(name)
        return own.to(held.device) if first else torch.empty_like(own, device=held.device)

    for name, parameter in sharded.named_parameters():
        tensor = sent(name, parameter)
        parameter.copy_(distribute_tensor(tensor, parameter.device_mesh, parameter.placements))
    for name, buffer in sharded.named_buffers():
        buffer.copy_(sent(name, buffer))
        torch.distributed.broadcast(buffer, 0)


class _FsdpState(PlainState):
    """Parameters that are DTensors, and so are their averages."""

    def _whole(self, parameter: Any, kind: str) -> Tensor:
        return _gathered(self._held(parameter, kind))

    @torch.no_grad()
    def _put(self, parameter: Any, kind: str, whole: Tensor) -> None:
        held: Any = self._held(parameter, kind)
        # Every process has read the whole tensor and takes its own slice.
        mesh, placements = held.device_mesh, held.placements
        whole = whole.to(held.device)
        held.copy_(distribute_tensor(whole, mesh, placements, src_data_rank=None))


def _gathered(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value
