"""`python -m benchmarks.annotation_limit`: how near scoring comes to the machine's own limit.

The figure is the FLOP/s of our scoring over those of one large fp32 matrix product, measured
in turn. Counted is the work that is done: each prompt once, the last layer's queries and MLP
at the positions read alone; two FLOPs a weight and token, and attention's two products.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import LlamaConfig

from annotation.annotators.base import ScoreResources
from annotation.armorm.scorer import ArmoRMScorer, open_armorm
from annotation.scorers.batches import Group
from annotation.scorers.protocol import Conversation
from benchmarks.support import annotation_world as world
from benchmarks.support.outcome import report_passes

_PASSES = 8
_PROMPTS = 4
_SIZE = 2048


def main() -> None:
    """Print the outcome."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    talks = world.conversations(_PASSES * _PROMPTS)
    with tempfile.TemporaryDirectory() as folder:
        world.save_model(Path(folder), world.conversations(400))
        scorer = open_armorm(world.ANNOTATOR, folder, ScoreResources(device="cpu"))
    scorer.score(talks[:2])
    matmul_rate()
    passes = []
    for start in range(0, len(talks), _PROMPTS):
        before = matmul_rate()
        ours = _rate(scorer, talks[start : start + _PROMPTS])
        passes.append((ours, (before + matmul_rate()) / 2))
        print(f"ours {passes[-1][0] / 1e9:.1f}, matmul {passes[-1][1] / 1e9:.1f} GFLOP/s")
    _report(passes)


def matmul_rate() -> float:
    """FLOP/s of a square product in float32, the best of three."""
    matrix = torch.randn(_SIZE, _SIZE)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return float(2 * _SIZE**3 / min(seconds))


def _rate(scorer: ArmoRMScorer, talks: Sequence[Conversation]) -> float:
    groups = scorer.groups(talks)
    work = sum(flops(scorer.model.config, group) for group in groups)
    start = time.perf_counter()
    scorer.score(talks)
    return work / (time.perf_counter() - start)


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


def _report(passes: Sequence[tuple[float, float]]) -> None:
    shares = [ours / limit for ours, limit in passes]
    report_passes(
        "annotation_limit",
        shares,
        0.6,
        "our FLOP/s over this machine's matmul rate, fp32",
        our_gflops=round(statistics.median(ours for ours, _ in passes) / 1e9, 1),
        matmul_gflops=round(statistics.median(limit for _, limit in passes) / 1e9, 1),
        lengths=world.source_of_lengths(),
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
