"""Pairs a second: ours over TRL's CPO trainer (SimPO), same rows, model, dtype and global batch.

`python -m benchmarks.train_throughput [--steps 20]`
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.support.outcome import report
from benchmarks.support.training_contestant import Settings
from benchmarks.support.training_race import Contestant
from benchmarks.support.training_rows import Shape, prepare

REACH = 2.4


def main() -> None:
    """Race both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20, help="at least 2: the first warms up")
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    shape = Shape(vocabulary=options.vocabulary)
    settings = Settings(steps=options.steps, batch=4, micro=2, threads=options.threads)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), shape, settings.steps * settings.batch)
        racers = [Contestant(who, Path(folder), settings) for who in ("trl", "ours")]
        laps: list[list[dict[str, float]]] = []
        for step in range(settings.steps):
            laps.append([racer.step() for racer in racers])
            theirs, mine = laps[-1]
            print(f"step {step + 1}: TRL {theirs['seconds']:.2f} s, loss {theirs['loss']:.6f}; "
                  f"ours {mine['seconds']:.2f} s, loss {mine['loss']:.6f}", flush=True)  # fmt: skip
        for racer in racers:
            racer.finish()
    # The first step of each loads kernels and allocates the optimizer's state.
    timed = laps[1:]
    seconds = [sum(lap[side]["seconds"] for lap in timed) for side in (0, 1)]
    pairs = len(timed) * settings.batch
    report(
        "train_throughput", seconds[0] / seconds[1], REACH, "ours / TRL, pairs a second",
        trl_pairs_per_second=round(pairs / seconds[0], 3),
        ours_pairs_per_second=round(pairs / seconds[1], 3),
        median_step_ratio=round(median(a["seconds"] / b["seconds"] for a, b in timed), 3),
        largest_loss_difference=max(abs(a["loss"] - b["loss"]) for a, b in laps),
        steps=settings.steps, global_batch=settings.batch, trl_micro_batch=settings.micro,
        vocabulary=shape.vocabulary, hidden=shape.hidden, layers=shape.layers,
        threads=settings.threads, dtype="float32",
    )  # fmt: skip


if __name__ == "__main__":
    main()
