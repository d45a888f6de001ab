"""`python -m benchmarks.annotation_limit`: how near scoring comes to the machine's own limit.

The figure is the FLOP/s of our scoring over those of one large matrix product in the same dtype,
measured in turn. Counted is the work that is done: each prompt once, the last layer's queries and
MLP at the positions read alone; two FLOPs a weight and token, and attention's two products.

On a GPU `--device cuda --dtype bfloat16 --shape llama-3-8b --prompts 256`.
"""

import argparse
import os
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from transformers import LlamaConfig

from annotation.armorm.scorer import ArmoRMScorer
from annotation.scorers.batches import Group
from annotation.scorers.protocol import Conversation
from benchmarks.support import annotation_world as world
from benchmarks.support.device import Device
from benchmarks.support.options import Options, device_of, shape_of
from benchmarks.support.outcome import report_passes
from benchmarks.support.texts import source_of_texts

_SIZE = 2048


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = Options(__doc__, families=["llama"])
    parser.add_counts(prompts=32)
    return parser.parse_args(arguments)


def main() -> None:
    """Print the outcome."""
    asked = options()
    device, shape = device_of(asked), shape_of(asked, world.TINY)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    talks = world.conversations(asked.prompts)
    scorer = world.open_scorer(shape, device)
    world.warm_up(scorer, talks)
    matmul_rate(device)
    passes = []
    for part in world.in_passes(talks):
        before = matmul_rate(device)
        ours = _rate(device, scorer, part)
        passes.append((ours, (before + matmul_rate(device)) / 2))
        print(f"ours {passes[-1][0] / 1e9:.1f}, matmul {passes[-1][1] / 1e9:.1f} GFLOP/s")
    _report(passes, layout=scorer.layout, shape=asked.shape, **device.facts)


def matmul_rate(device: Device) -> float:
    """FLOP/s of a square product, the best of three."""
    return max(device.matmul_rates(_SIZE, 3))


def _rate(device: Device, scorer: ArmoRMScorer, talks: Sequence[Conversation]) -> float:
    groups = scorer.groups(talks)
    work = sum(flops(scorer.model.config, group) for group in groups)
    start = device.clock()
    scorer.score(talks)
    return work / (device.clock() - start)


def flops(config: LlamaConfig, group: Group) -> float:
    """What scoring a prompt and its responses takes, the heads left out."""
    width, heads = config.hidden_size, config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    key_value = 2 * width * keys
    others = 2 * width * heads + 3 * width * config.intermediate_size
    prompt, responses = len(group.prompt), [len(response) for response in group.responses]
    seen = prompt**2 / 2 + sum(size * (prompt + size / 2) for size in responses)
    whole = group.tokens * (key_value + others) + 2 * seen * heads
    reads = [prompt, *(prompt + size for size in responses)]
    last = group.tokens * key_value + len(reads) * others + 2 * sum(reads) * heads
    return 2 * ((config.num_hidden_layers - 1) * whole + last)


def _report(passes: Sequence[tuple[float, float]], **detail: Any) -> None:
    shares = [ours / limit for ours, limit in passes]
    report_passes(
        "annotation_limit",
        shares,
        0.6,
        "our FLOP/s over this machine's matmul rate",
        our_gflops=round(statistics.median(ours for ours, _ in passes) / 1e9, 1),
        matmul_gflops=round(statistics.median(limit for _, limit in passes) / 1e9, 1),
        lengths=source_of_texts(),
        threads=torch.get_num_threads(),
        **detail,
    )


if __name__ == "__main__":
    main()
