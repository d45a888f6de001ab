"""A training as the flow starts it, that is killed once it has come so far."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from checkout import CHECKOUT

from contracts.steps.step import claim
from runtime.progress import parse_progress
from training import train
from training.config import TrainConfig


def start(settings: TrainConfig, inputs: dict[str, str], out: Path) -> "subprocess.Popen[str]":
    """The stage as the flow starts it, in a process group of its own."""
    claim(train.STAGE, settings, inputs, out)
    return subprocess.Popen(
        [sys.executable, "-m", "training.train", str(out / "_step.json")],
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True, env={**os.environ, "ONPOLICY_PARENT": "stdin"},
    )  # fmt: skip


def kill_after_step(process: "subprocess.Popen[str]", out: Path, steps: int) -> None:
    """kill -9 of the whole process group once the metrics hold `steps` steps."""
    log = out / ".checkpoints" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not log.exists() or len(log.read_text().splitlines()) < steps:
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline, "training did not come so far in time"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def resumed_from(printed: str) -> int:
    """The steps that had been done when a training began, by what it prints of its progress."""
    return [seen for line in printed.splitlines() if (seen := parse_progress(line))][-1].resumed
