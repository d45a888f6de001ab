"""Model FLOP/s of training over this machine's own matmul rate at the same dtype and threads.

`python -m benchmarks.train_mfu [--steps 10]`; on a GPU
`--device cuda --dtype bfloat16 --shape gemma-2-2b --steps 6 --batch 32 --micro-tokens 8192`.
Counted: what the method needs (each prompt once, the head at response tokens only), forward once
and backward twice; recomputation is not counted. `--profile` tells what one more step spends its
time on: the three largest costs, and on a GPU how long it was busy.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.support.device import Device
from benchmarks.support.options import Options, device_of, shape_of
from benchmarks.support.outcome import report
from benchmarks.support.shapes import tiny_gemma
from benchmarks.support.texts import source_of_texts
from benchmarks.support.training_contestant import Settings
from benchmarks.support.training_race import Contestant
from benchmarks.support.training_rows import prepare, read_rows

# On a CPU it prints.
REACH = {"cpu": 0.0, "cuda": 0.45}
_SIZE = 1536


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = Options(__doc__, families=["gemma2"])
    parser.add_counts(steps=10, batch=4, micro_tokens=4096, threads=2)
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args(arguments)


def main() -> None:
    """Step and multiply in turns, and print the share."""
    asked = options()
    device, shape = device_of(asked), shape_of(asked, tiny_gemma())
    settings = Settings(
        asked.steps + asked.profile, asked.batch, asked.batch, asked.threads, asked.micro_tokens,
        device=device.kind, dtype=device.dtype, profile=asked.profile,
    )  # fmt: skip
    settings.refuse_untimed(asked.steps)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, shape, settings.steps * settings.batch, device=device)
        rows = read_rows(folder)[settings.warm_up * settings.batch : asked.steps * settings.batch]
        seconds, rates, profile = _measure(folder, settings, device, asked.steps)
    lengths = ([len(row[f"{of}_ids"]) for of in ("prompt", "chosen", "rejected")] for row in rows)
    done = sum(shape.training_flops(*each) for each in lengths)
    achieved, peak = done / sum(seconds), mean(rates)
    report(
        "train_mfu", achieved / peak, REACH[device.kind], "share of this machine's matmul rate",
        achieved_gflops=round(achieved / 1e9, 1), matmul_gflops=round(peak / 1e9, 1),
        pairs_per_second=round(len(rows) / sum(seconds), 3),
        shape=asked.shape, hidden=shape.hidden, layers=shape.layers, vocabulary=shape.vocabulary,
        global_batch=settings.batch, micro_batch_tokens=settings.micro_tokens,
        threads=settings.threads, **profile, texts=source_of_texts(), **device.facts,
    )  # fmt: skip


def _measure(
    folder: Path, settings: Settings, device: Device, timed: int
) -> tuple[list[float], list[float], dict[str, Any]]:
    """Seconds of the steps that are timed, FLOP/s of matrix products between the steps, and what
    the profile of a step after them says."""
    import torch

    torch.set_num_threads(settings.threads)
    racer = Contestant("ours", folder, settings)
    seconds, rates = [], []
    for _ in range(timed):
        seconds.append(racer.step()["seconds"])
        rates += device.matmul_rates(_SIZE, 4)
    last = racer.step() if settings.profile else {}
    racer.finish()
    return seconds[settings.warm_up :], rates, {
        name: value for name, value in last.items() if name in ("largest_costs", "busy")
    }  # fmt: skip


if __name__ == "__main__":
    main()
