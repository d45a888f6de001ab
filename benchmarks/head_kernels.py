"""Log-probs of given tokens at a large vocabulary, forward and backward: our head and others.

`python -m benchmarks.head_kernels [--tokens 256]`; on a GPU `--device cuda --dtype bfloat16 --shape
gemma-2-9b --tokens 6000`. Beside `training/packed/head.py` run all logits at once, and where they
are installed cut-cross-entropy's and Liger's kernels, with Gemma-2's final soft-cap of 30. The
figure is our rate over the fastest other's; printed beside it: milliseconds, how far the gradients
are from those of float32 logits, and on a GPU the memory above states, weights and gradients.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.support.device import Device
from benchmarks.support.options import Options, device_of, shape_of
from benchmarks.support.outcome import report
from benchmarks.support.shapes import tiny_gemma
from training.packed.head import target_logprobs

_SOFTCAP = 30.0
_TINY = tiny_gemma(vocabulary=65_536, hidden=128, layers=1)
Head = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From states [tokens, hidden], the weight [vocabulary, hidden] and targets to the sum of the
targets' log-probs."""


@dataclass(frozen=True)
class Cost:
    """Of a forward and a backward pass."""

    milliseconds: float
    state_error: float
    """Of the states' gradient, over its norm."""
    weight_error: float
    peak_mib: float | None
    """On a GPU."""


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = Options(__doc__, families=["gemma2"])
    parser.add_counts(tokens=256, passes=10, logits_mib=128)
    return parser.parse_args(arguments)


def main() -> None:
    """Time each, and print the outcome."""
    asked = options()
    device, shape = device_of(asked), shape_of(asked, _TINY)
    states, weight, targets = _inputs(asked.tokens, shape.hidden, shape.vocabulary, device)
    exact = _gradients(_whole, states.float(), weight.float(), targets)
    costs = {
        name: _cost(head, (states, weight, targets), exact, device, asked.passes)
        for name, head in contestants(asked.logits_mib << 20).items()
    }
    for name, cost in costs.items():
        print(f"{name}: {cost}", flush=True)
    mine, *others = (cost.milliseconds for cost in costs.values())
    report(
        "head_kernels", min(others) / mine, 1.0, "our head's rate over the fastest other's",
        contestants={name: asdict(cost) for name, cost in costs.items()}, tokens=asked.tokens,
        vocabulary=shape.vocabulary, hidden=shape.hidden, logits_mib=asked.logits_mib,
        shape=asked.shape, **device.facts,
    )  # fmt: skip


def contestants(budget: int) -> dict[str, Head]:
    """Ours first, then the others that are here.

    Args:
        budget: bytes of float32 logits that ours may hold.
    """

    def ours(states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        return target_logprobs(states, weight, targets, _SOFTCAP, budget).sum()

    found: dict[str, Head] = {"ours": ours, "whole": _whole}
    others = {"cut_cross_entropy": _cut_cross_entropy, "liger_kernel": _liger}
    return found | {name: head for name, head in others.items() if find_spec(name)}


def _whole(states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    logits = functional.linear(states, weight).float()
    capped = _SOFTCAP * torch.tanh(logits / _SOFTCAP)
    return -functional.cross_entropy(capped, targets, reduction="sum")


def _cut_cross_entropy(states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    import cut_cross_entropy  # type: ignore[import-not-found]

    loss: Tensor = cut_cross_entropy.linear_cross_entropy(
        states, weight, targets, softcap=_SOFTCAP, reduction="sum"
    )
    return -loss


def _liger(states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    from liger_kernel.transformers import (  # type: ignore[import-not-found]
        LigerFusedLinearCrossEntropyLoss,
    )

    head = LigerFusedLinearCrossEntropyLoss(reduction="sum", softcap=_SOFTCAP)
    loss: Tensor = head(weight, states, targets)
    return -loss


def _inputs(tokens: int, hidden: int, vocabulary: int, device: Device) -> tuple[Tensor, ...]:
    """Logits of some units: the soft-cap bends the largest."""
    torch.manual_seed(0)
    there: dict[str, Any] = {"device": device.kind, "dtype": device.torch_dtype}
    states = 3 * torch.randn(tokens, hidden, **there)
    weight = hidden**-0.5 * torch.randn(vocabulary, hidden, **there)
    return states, weight, torch.randint(vocabulary, (tokens,), device=device.kind)


def _gradients(head: Head, states: Tensor, weight: Tensor, targets: Tensor) -> list[Tensor]:
    given = [tensor.detach().requires_grad_() for tensor in (states, weight)]
    head(given[0], given[1], targets).backward()
    return [tensor.grad for tensor in given if tensor.grad is not None]


def _cost(
    head: Head, inputs: tuple[Tensor, ...], exact: Sequence[Tensor], device: Device, passes: int
) -> Cost:
    states, weight, targets = inputs
    found = _gradients(head, states, weight, targets)  # and whatever is compiled for it
    errors = [float((a.float() - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)]
    seconds = []
    device.forget_peak()  # what is held now holds gradients too, as each pass will
    held = device.held_mib()
    del found
    for _ in range(passes):
        started = device.clock()
        _gradients(head, states, weight, targets)
        seconds.append(device.clock() - started)
    peak = round(device.peak_mib() - held) if device.on_gpu else None
    return Cost(round(1000 * median(seconds), 2), errors[0], errors[1], peak)


if __name__ == "__main__":
    main()
