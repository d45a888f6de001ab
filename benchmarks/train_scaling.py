"""Pairs a second with two processes over one, each with one thread, through the real stage.

`python -m benchmarks.train_scaling [--strategy zero3]`
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.support.outcome import report
from benchmarks.support.shapes import tiny_gemma
from benchmarks.support.training_rows import prepare, quiet
from contracts.steps.fingerprint import of_input
from contracts.steps.manifest import Result, write_manifest
from contracts.steps.step import claim
from contracts.tables.parts import write_part
from contracts.tables.schemas import TOKENS
from runtime.progress import Reading, parse_progress
from training import train
from training.config import TrainConfig, TrainResources
from training.tokens.checks import FormattedFor


def write_tokens(folder: Path, model: Path) -> None:
    """The rows as the TOKENS table of a finished step."""
    folder.mkdir()
    lines = (model / "rows.jsonl").read_text().splitlines()
    rows: list[dict[str, Any]] = [
        {**json.loads(line), "prompt_id": str(number), "chosen_loss_start": 0,
         "rejected_loss_start": 0}
        for number, line in enumerate(lines)
    ]  # fmt: skip
    names = TOKENS.names
    table = pa.Table.from_pylist([{name: row[name] for name in names} for row in rows], TOKENS)
    write_part(folder, 0, table, TOKENS)
    facts = FormattedFor(formatted_for=of_input(str(model)))
    write_manifest(folder, "training.format", Result(len(rows), facts=facts), 0.0)


def pairs_per_second(inputs: dict[str, str], out: Path, config: TrainConfig) -> float:
    """The stage's own rate, from its progress: loading and writing are left out."""
    claim(train.STAGE, config, inputs, out)
    process = subprocess.Popen(
        [sys.executable, "-m", "training.train", str(out / "_step.json")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    last: Reading | None = None
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        last = parse_progress(line) or last
    if process.wait() or last is None:
        raise SystemExit("training failed:\n" + "".join(lines[-20:]))
    return last.done * config.global_batch / last.seconds


def main() -> None:
    """Train with one process and with two, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategy", default="zero3")
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    quiet()
    shape, batch = tiny_gemma(), 8
    rates = {}
    with tempfile.TemporaryDirectory() as name:
        model, tokens = Path(name) / "model", Path(name) / "tokens"
        model.mkdir()
        prepare(model, shape, options.steps * batch)
        write_tokens(tokens, model)
        for processes in (1, 2):
            resources = TrainResources(
                strategy=options.strategy, processes=processes, threads=1, micro_batch_tokens=2048,
                checkpoint_every=0,
            )  # fmt: skip
            config = TrainConfig(learning_rate=3e-4, global_batch=batch, resources=resources)
            inputs = {"tokens": str(tokens), "policy": str(model)}
            rates[processes] = pairs_per_second(inputs, Path(name) / f"out-{processes}", config)
    report(
        "train_scaling", rates[2] / rates[1], 0.0, "2 processes / 1, pairs a second",
        one=round(rates[1], 3), two=round(rates[2], 3), strategy=options.strategy,
        threads_per_process=1, steps=options.steps, global_batch=batch,
    )  # fmt: skip


if __name__ == "__main__":
    main()
