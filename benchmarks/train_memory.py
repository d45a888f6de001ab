"""Peak memory: ours over TRL's CPO trainer (SimPO) at Gemma-2's vocabulary, each in a process.

`python -m benchmarks.train_memory [--max-length 900]`. TRL gets one pair a pass, its least.
"""

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.support.training_contestant import Settings
from benchmarks.support.training_race import Contestant
from benchmarks.support.training_rows import Shape, prepare

REACH = 0.25
VOCABULARY = 256_000


def peak(who: str, folder: Path, settings: Settings) -> tuple[float, list[float]]:
    """The most memory that a contestant held, in MiB, and its losses."""
    racer = Contestant(who, folder, settings)
    losses = [racer.step()["loss"] for _ in range(settings.steps)]
    return racer.finish(), losses


def main() -> None:
    """Run both, one after the other, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-length", type=int, default=900)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=128)
    options = parser.parse_args()
    shape = Shape(vocabulary=VOCABULARY, hidden=options.hidden, layers=4)
    settings = Settings(steps=options.steps, batch=2, micro=1, threads=2, logits_mib=128)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, shape, settings.steps * settings.batch, options.max_length)
        rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
        mine, my_losses = peak("ours", folder, settings)
        theirs, their_losses = peak("trl", folder, settings)
    ratio = mine / theirs
    outcome = {
        "name": "train_memory",
        "figure": round(ratio, 3),
        "reach": REACH,
        "holds": ratio <= REACH,
        "unit": "ours / TRL, peak resident memory; at most",
        "detail": {
            "ours_mib": round(mine),
            "trl_mib": round(theirs),
            "longest_sequence": max(
                len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))
                for row in rows
            ),
            "largest_loss_difference": max(
                abs(a - b) for a, b in zip(my_losses, their_losses, strict=True)
            ),
            "vocabulary": VOCABULARY, "hidden": shape.hidden, "layers": shape.layers,
            "global_batch": settings.batch, "trl_micro_batch": settings.micro,
            "logits_mib": settings.logits_mib, "dtype": "float32",
        },
    }  # fmt: skip
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
