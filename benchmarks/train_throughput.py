"""Pairs a second: ours over TRL's CPO trainer (SimPO), same rows, model, dtype and global batch.

`python -m benchmarks.train_throughput [--steps 20]`; on a GPU
`--device cuda --dtype bfloat16 --shape gemma-2-2b --batch 32 --trl-micro 1 --micro-tokens 8192`.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.support.options import Options, device_of, shape_of
from benchmarks.support.outcome import report
from benchmarks.support.shapes import tiny_gemma
from benchmarks.support.texts import source_of_texts
from benchmarks.support.training_contestant import Settings
from benchmarks.support.training_race import race
from benchmarks.support.training_rows import prepare

REACH = {"cpu": 2.4, "cuda": 2.9}


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for; on a CPU its first step, on a GPU its first two warm up."""
    parser = Options(__doc__, families=["gemma2"])
    parser.add_counts(steps=20, batch=4, trl_micro=2, micro_tokens=4096, threads=2)
    return parser.parse_args(arguments)


def main() -> None:
    """Race both and print the ratio."""
    asked = options()
    device, shape = device_of(asked), shape_of(asked, tiny_gemma())
    settings = Settings(
        asked.steps, asked.batch, asked.trl_micro, asked.threads, asked.micro_tokens,
        device=device.kind, dtype=device.dtype,
    )  # fmt: skip
    settings.refuse_untimed(asked.steps)
    settings.refuse_uneven()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), shape, settings.steps * settings.batch, device=device)
        mine, theirs = race(("ours", "trl"), Path(folder), settings)
    seconds = [sum(one.seconds[settings.warm_up :]) for one in (theirs, mine)]
    pairs = (settings.steps - settings.warm_up) * settings.batch
    steps = zip(theirs.seconds, mine.seconds, strict=True)
    report(
        "train_throughput", seconds[0] / seconds[1], REACH[device.kind],
        "ours / TRL, pairs a second",
        trl_pairs_per_second=round(pairs / seconds[0], 3),
        ours_pairs_per_second=round(pairs / seconds[1], 3),
        median_step_ratio=round(median([a / b for a, b in steps][settings.warm_up :]), 3),
        largest_loss_difference=max(
            abs(a - b) for a, b in zip(theirs.losses, mine.losses, strict=True)
        ),
        trl_peak_mib=round(theirs.peak_mib), ours_peak_mib=round(mine.peak_mib),
        steps=settings.steps, global_batch=settings.batch, trl_micro_batch=settings.trl_micro,
        micro_batch_tokens=settings.micro_tokens, shape=asked.shape, threads=settings.threads,
        texts=source_of_texts(), **device.facts,
    )  # fmt: skip


if __name__ == "__main__":
    main()
