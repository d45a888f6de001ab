"""Attention over one packed row, forward and backward: the one that `auto` chooses and the others.

`python -m benchmarks.attention_kernels [--tokens 2048]`; on a GPU `--device cuda --dtype bfloat16
--shape gemma-2-9b --tokens 8192`. The heads are those of the shape, Gemma-2's with its soft-cap of
50 and its window of 4,096; the row holds four pairs, each a prompt and two answers of one and a
half times its length. The figure is the rate of `auto`'s choice over the best other's: below 1, the
other is to take its place. Printed beside it: milliseconds, and how far outputs and gradients are
from eager attention's in float32.

`--kernel NAME`, on a GPU, puts FlexAttention with other blocks against itself as torch cuts it up:
below 1, `flex.flex_attention` is to be given these. A kernel that needs more shared memory than the
GPU has ends the command.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.support.device import Device
from benchmarks.support.flex_kernels import KERNELS
from benchmarks.support.options import Options, device_of, shape_of
from benchmarks.support.outcome import report
from benchmarks.support.shapes import Shape, tiny_gemma
from training.packed import attention, flash, flex
from training.packed.packing import Batch, Pair, additive, attention_allowed, make_batch

_SOFTCAP, _WINDOW = 50.0, 4096
States = tuple[Tensor, Tensor, Tensor]
Attend = Callable[[States], Tensor]
"""From query, key and value, [1, heads, length, head size], to [1, length, heads, head size]."""


@dataclass(frozen=True)
class Cost:
    """Of a forward and a backward pass."""

    milliseconds: float
    error: float
    """Of the output and the gradients, the largest, over the norm of what is exact."""


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = Options(__doc__, families=["gemma2", "llama", "qwen2"])
    parser.add_counts(tokens=2048, passes=10)
    parser.add_argument("--kernel", choices=KERNELS)
    return parser.parse_args(arguments)


def main() -> None:
    """Time each, and print the outcome."""
    asked = options()
    device, shape = device_of(asked), shape_of(asked, tiny_gemma())
    if asked.kernel and not device.on_gpu:
        raise SystemExit("--kernel: FlexAttention is compiled on a GPU alone; add --device cuda")
    batch = make_batch(pairs(asked.tokens), "packed", flex.BLOCK).to(torch.device(device.kind))
    states = _states(shape, batch, device)
    real = batch.branch[0] >= 0
    exact = _results(_eager(shape, batch), [tensor.float() for tensor in states], real)
    costs = {
        name: _cost(attend, states, exact, real, device, asked.passes)
        for name, attend in contestants(shape, batch, device, asked.kernel).items()
    }
    for name, cost in costs.items():
        print(f"{name}: {cost.milliseconds:.2f} ms, {cost.error:.1e} off", flush=True)
    chosen, *others = (cost.milliseconds for cost in costs.values())
    report(
        "attention_kernels", min(others) / chosen, 1.0,
        f"rate of {next(iter(costs))}, as it is chosen, over the best other's",
        milliseconds={name: round(cost.milliseconds, 2) for name, cost in costs.items()},
        errors={name: cost.error for name, cost in costs.items()},
        tokens=batch.input_ids.numel(), heads=f"{shape.heads}/{shape.key_heads}",
        head_size=shape.head_size, shape=asked.shape, **device.facts,
    )  # fmt: skip


def pairs(tokens: int) -> list[Pair]:
    """Four that have so many tokens together."""
    prompt, answer = max(1, tokens // 16), max(1, 3 * tokens // 32)
    return [Pair(str(n), [5] * prompt, [6] * answer, [7] * answer) for n in range(4)]


def contestants(
    shape: Shape, batch: Batch, device: Device, kernel: str | None = None
) -> dict[str, Attend]:
    """By name, first what `auto` chooses here. FlexAttention has no backward pass on a CPU.

    Args:
        kernel: of KERNELS, to put against torch's own choice.
    """
    if not device.on_gpu:
        return _others(shape, batch)
    own = {"flex": _flex(shape, batch)}
    if kernel:
        return own | {f"flex, {kernel}": _flex(shape, batch, KERNELS[kernel])}
    if device.dtype == "bfloat16" and not flash.unavailable():
        own |= {"flash": _flash(shape, batch)}
    return own | _others(shape, batch)


def _others(shape: Shape, batch: Batch) -> dict[str, Attend]:
    """What every device has."""
    module, settings = torch.nn.Module(), _settings(shape)

    def segments(states: States) -> Tensor:
        segments, window = batch.segments, settings["sliding_window"]
        return attention.segments_attention(
            module, *states, None, settings["scaling"], settings["softcap"], window, segments
        )[0]

    return {"segments": segments, "eager": _eager(shape, batch)}


def _flex(shape: Shape, batch: Batch, kernel: dict[str, int] | None = None) -> Attend:
    module, settings = torch.nn.Module(), _settings(shape)
    mask = flex.block_mask(batch, _window(shape, batch))

    def attend(states: States) -> Tensor:
        return flex.flex_attention(
            module, *states, mask, settings["scaling"], settings["softcap"], kernel
        )[0]

    return attend


def _flash(shape: Shape, batch: Batch) -> Attend:
    module, settings = torch.nn.Module(), _settings(shape)
    sequences = flash.Sequences.of(batch.segments, batch.input_ids.device)

    def attend(states: States) -> Tensor:
        return flash.flash_attention(
            module, *states, None, settings["scaling"], settings["softcap"],
            settings["sliding_window"], sequences,
        )[0]  # fmt: skip

    return attend


def _settings(shape: Shape) -> dict[str, Any]:
    gemma = shape.family == "gemma2"
    return {
        "scaling": (shape.score_scale or shape.head_size) ** -0.5,
        "softcap": _SOFTCAP if gemma else None,
        "sliding_window": _WINDOW if gemma else None,
    }


def _window(shape: Shape, batch: Batch) -> int | None:
    """None where no token is so far from another."""
    window: int | None = _settings(shape)["sliding_window"]
    return window if window and batch.positions > window else None


def _eager(shape: Shape, batch: Batch) -> Attend:
    """All scores of the row laid out, as transformers' eager attention has them."""
    settings, allowed = _settings(shape), attention_allowed(batch, _window(shape, batch))

    def attend(states: States) -> Tensor:
        query, key, value = states
        keys, values = (
            tensor.repeat_interleave(shape.heads // shape.key_heads, 1) for tensor in (key, value)
        )
        scores = query @ keys.transpose(2, 3) * settings["scaling"]
        if settings["softcap"]:
            scores = settings["softcap"] * torch.tanh(scores / settings["softcap"])
        weights = torch.softmax(scores.float() + additive(allowed, torch.float32), -1)
        return (weights.to(value.dtype) @ values).transpose(1, 2)

    return attend


def _states(shape: Shape, batch: Batch, device: Device) -> list[Tensor]:
    """Query, key and value whose scores reach the soft-cap's bend."""
    torch.manual_seed(0)
    length, heads = batch.input_ids.shape[1], (shape.heads, shape.key_heads, shape.key_heads)
    return [
        2 * torch.randn(1, count, length, shape.head_size, device=device.kind,
                        dtype=device.torch_dtype)
        for count in heads
    ]  # fmt: skip


def _results(attend: Attend, states: Sequence[Tensor], real: Tensor) -> list[Tensor]:
    """The output, and the gradients of query, key and value.

    Args:
        real: [length], false at padding, where each attention gives what it likes.
    """
    query, key, value = (tensor.detach().requires_grad_() for tensor in states)
    out = attend((query, key, value))
    out.backward(real.to(out.dtype)[None, :, None, None].expand_as(out))
    return [
        out.detach(),
        *(tensor.grad for tensor in (query, key, value) if tensor.grad is not None),
    ]


def _cost(
    attend: Attend, states: Sequence[Tensor], exact: Sequence[Tensor], real: Tensor,
    device: Device, passes: int,
) -> Cost:  # fmt: skip
    found = _results(attend, states, real)  # and whatever is compiled for it
    both = [(found[0][:, real], exact[0][:, real]), *zip(found[1:], exact[1:], strict=True)]
    error = max(float((a.float() - b).norm() / b.norm()) for a, b in both)
    seconds = []
    for _ in range(passes):
        started = device.clock()
        _results(attend, states, real)
        seconds.append(device.clock() - started)
    return Cost(1000 * median(seconds), error)


if __name__ == "__main__":
    main()
