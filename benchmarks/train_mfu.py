"""Model FLOP/s of training over this machine's own matmul rate at the same dtype and threads.

`python -m benchmarks.train_mfu [--steps 10]`. Counted: what the method needs (each prompt once,
the head at response tokens only), forward once and backward twice; recomputation is not counted.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.support.outcome import report
from benchmarks.support.training_contestant import Settings
from benchmarks.support.training_race import Contestant
from benchmarks.support.training_rows import Shape, prepare


def pair_flops(shape: Shape, row: dict[str, Any]) -> float:
    """Floating-point operations of one pair's forward and backward pass."""
    prompt, *responses = (len(row[f"{name}_ids"]) for name in ("prompt", "chosen", "rejected"))
    layers = 2.0 * shape.matmul_parameters(with_head=False) * (prompt + sum(responses))
    head = 2.0 * shape.vocabulary * shape.hidden * sum(responses)
    seen = prompt**2 / 2 + sum(n * prompt + n**2 / 2 for n in responses)
    attention = 4.0 * seen * shape.heads * 64 * shape.layers
    return 3 * (layers + head + attention)


def matmul_rate(threads: int, size: int = 1536) -> float:
    """FLOP/s of a float32 product of two squares."""
    import torch

    torch.set_num_threads(threads)
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    started = time.perf_counter()
    for _ in range(4):
        a @ b
    return 4 * 2 * size**3 / (time.perf_counter() - started)


def main() -> None:
    """Step and multiply in turns, and print the share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--hidden", type=int, default=256)
    options = parser.parse_args()
    shape = Shape(hidden=options.hidden)
    settings = Settings(steps=options.steps, batch=4, micro=2, threads=2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, shape, settings.steps * settings.batch)
        rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
        racer = Contestant("ours", folder, settings)
        seconds, rates = [], []
        for _ in range(settings.steps):
            seconds.append(racer.step()["seconds"])
            rates.append(matmul_rate(settings.threads))
        racer.finish()
    # The first step of it loads kernels and allocates the optimizer's state.
    done = sum(pair_flops(shape, row) for row in rows[settings.batch :])
    achieved, peak = done / sum(seconds[1:]), sum(rates) / len(rates)
    report(
        "train_mfu", achieved / peak, 0.0, "share of this machine's matmul rate",
        achieved_gflops=round(achieved / 1e9, 1), matmul_gflops=round(peak / 1e9, 1),
        pairs_per_second=round((len(rows) - settings.batch) / sum(seconds[1:]), 3),
        hidden=shape.hidden, layers=shape.layers, vocabulary=shape.vocabulary,
        threads=settings.threads, dtype="float32",
    )  # fmt: skip


if __name__ == "__main__":
    main()
