"""Bytes that a training will write: the policy in the end, checkpoints on the way."""

import math
from pathlib import Path

from contracts.models.weights import Shapes, Weights
from contracts.steps.disk_space import bytes_below, refuse_too_full
from runtime.device import dtype_of
from training.config import TrainConfig

# The float32 weight and AdamW's two averages.
_STATE_BYTES = 12


def policy_bytes(config: TrainConfig, weights: Weights) -> int:
    """Bytes of the saved weights."""
    return weights.parameters * (2 if dtype_of(config.dtype) == "bfloat16" else 4)


def checkpoint_bytes(config: TrainConfig, weights: Weights, steps: int | None) -> int:
    """Bytes of the checkpoints that lie there at once: the last, and the next as it is written.

    Args:
        steps: optimizer steps of the training, where that is known.
    """
    every = config.resources.checkpoint_every
    if not every:
        return 0
    at_once = 2 if steps is None else min(2, max(0, steps - 1) // every)
    return at_once * _STATE_BYTES * _trained(config, weights)


def state_bytes(config: TrainConfig, weights: Weights) -> int:
    """Bytes of the optimizer's state that a later round goes on from; 0 if none does."""
    return _STATE_BYTES * _trained(config, weights) * config.hands_on


def _trained(config: TrainConfig, weights: Weights) -> int:
    """Parameters that a checkpoint holds."""
    return trained_numbers(config, weights.shapes)


def trained_numbers(config: TrainConfig, shapes: Shapes) -> int:
    """Parameters that are trained: all, or LoRA's beside tensors of these shapes."""
    if not config.lora:
        return sum(math.prod(shape) for shape in shapes.values())
    ends = tuple(f".{target}.weight" for target in config.lora.targets)
    return sum(
        config.lora.rank * sum(shape) for name, shape in shapes.items()
        if name.endswith(ends)
    )  # fmt: skip


def steps_of(config: TrainConfig, pairs: int) -> int:
    """Optimizer steps over so many pairs."""
    return config.epochs * -(-pairs // config.global_batch)


def refuse_no_room(
    config: TrainConfig, weights: Weights, out: Path, steps: int | None, policies: int = 1
) -> None:
    """Refuse a training whose policy or checkpoints would not fit the disk.

    Args:
        out: where they are written; what lies in its checkpoints already is theirs again.
        policies: how many are to be trained below `out`, one after another.

    Raises:
        UserError: names the folder, both sizes, and what can be left out.
    """
    states_kept = config.resources.states_kept
    # Beside those kept lie the one that a gate may go back to, and the one that is written.
    states = policies if states_kept is None else min(policies, states_kept + 2)
    own = policies * policy_bytes(config, weights) + states * state_bytes(config, weights)
    on_the_way = checkpoint_bytes(config, weights, steps)
    needed = own + on_the_way - bytes_below(out / ".checkpoints")
    less = ", or set training.resources.checkpoint_every to 0" if on_the_way else ""
    if config.hands_on and states_kept is None:
        less += ", or keep fewer optimizer's states: training.resources.states_kept"
    state = ", optimizer's states" if config.hands_on else ""
    many = f"{policies} policies{state} and checkpoints"
    what = f"policy{state} and checkpoints" if policies == 1 else many
    refuse_too_full(out, needed, what, less)
