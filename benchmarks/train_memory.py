"""Peak memory: ours over TRL's CPO trainer (SimPO) at Gemma-2's vocabulary, each in a process.

`python -m benchmarks.train_memory [--max-length 900]`; on a GPU
`--device cuda --dtype bfloat16 --shape gemma-2-2b --max-length 2048 --steps 3 --batch 4`.
TRL gets one pair a pass, its least. On a CPU a process's whole resident memory counts; on a GPU,
where any trainer holds 16 bytes a parameter of weights, gradients and moments, what is above them.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support.device import Device
from benchmarks.support.options import Options, device_of, shape_of
from benchmarks.support.outcome import report_at_most
from benchmarks.support.shapes import Shape, tiny_gemma
from benchmarks.support.texts import source_of_texts
from benchmarks.support.training_contestant import Settings
from benchmarks.support.training_race import Outcome, race
from benchmarks.support.training_rows import prepare, read_rows

REACH = 0.25
_TINY = tiny_gemma(vocabulary=256_000, hidden=128, layers=4)
# float32: the weight, its gradient and AdamW's two moments.
_STATE_BYTES = 16


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = Options(__doc__, families=["gemma2"])
    parser.add_counts(
        steps=4, batch=2, trl_micro=1, micro_tokens=4096, logits_mib=128, max_length=900, threads=2
    )
    return parser.parse_args(arguments)


def floor_mib(shape: Shape, device: Device) -> float:
    """What is not counted, for any trainer holds it."""
    return shape.parameters * _STATE_BYTES / (1 << 20) if device.on_gpu else 0.0


def main() -> None:
    """Run both, one after the other, and print the ratio."""
    asked = options()
    device, shape = device_of(asked), shape_of(asked, _TINY)
    settings = Settings(
        asked.steps, asked.batch, asked.trl_micro, asked.threads, asked.micro_tokens,
        asked.logits_mib, device.kind, device.dtype,
    )  # fmt: skip
    settings.refuse_uneven()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, shape, settings.steps * settings.batch, asked.max_length, device)
        longest = _longest(folder)
        (mine,) = race(["ours"], folder, settings)
        (theirs,) = race(["trl"], folder, settings)
    floor = floor_mib(shape, device)
    report_at_most(
        "train_memory", (mine.peak_mib - floor) / (theirs.peak_mib - floor), REACH,
        "ours / TRL, peak memory above weights, gradients and moments" if device.on_gpu
        else "ours / TRL, peak resident memory",
        ours_mib=round(mine.peak_mib), trl_mib=round(theirs.peak_mib), not_counted_mib=round(floor),
        longest_sequence=longest, largest_loss_difference=_apart(mine, theirs),
        shape=asked.shape, vocabulary=shape.vocabulary, hidden=shape.hidden, layers=shape.layers,
        global_batch=settings.batch, trl_micro_batch=settings.trl_micro,
        micro_batch_tokens=settings.micro_tokens, logits_mib=settings.logits_mib,
        texts=source_of_texts(), **device.facts,
    )  # fmt: skip


def _longest(folder: Path) -> int:
    """Tokens of the longest prompt with a response."""
    return max(
        len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))
        for row in read_rows(folder)
    )


def _apart(mine: Outcome, theirs: Outcome) -> float:
    return max(abs(a - b) for a, b in zip(mine.losses, theirs.losses, strict=True))


if __name__ == "__main__":
    main()
