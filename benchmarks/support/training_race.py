"""Two contestants, each a process, that train on the same rows.

On a CPU they take turns step by step, so that both meet the same machine. On a GPU they run one
after the other: two sets of weights, gradients and moments do not fit one. What the first came to
is printed before the second begins, which may run out of memory.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.support.training_contestant import Settings
from benchmarks.support.training_rows import quiet
from training.launch.environment import allocator_settings


class Contestant:
    """A process that takes an optimizer step when told to."""

    def __init__(self, who: str, folder: Path, settings: Settings) -> None:
        quiet()
        # Read before exec: libraries take their thread settings when they are loaded.
        threads = {"OMP_NUM_THREADS": str(settings.threads)}
        environment = {**os.environ, **threads, **allocator_settings()}
        if not settings.on.on_gpu:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        self.name = who
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.support.training_contestant", who, str(folder),
             json.dumps(asdict(settings))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self._read()

    def step(self) -> dict[str, Any]:
        """Its next step's seconds and loss, and its profile where there is one."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._read()

    def finish(self) -> float:
        """Let it end; the most memory it held, in MiB."""
        peak = self._read()["peak_mib"]
        self._process.wait()
        return float(peak)

    def _read(self) -> dict[str, Any]:
        for line in self._process.stdout or ():
            if line.startswith("::"):
                return json.loads(line[2:])
        raise SystemExit(f"{self.name} ended early with code {self._process.wait()}")


@dataclass(frozen=True)
class Outcome:
    """What a contestant took."""

    seconds: list[float]
    """By step."""
    losses: list[float]
    peak_mib: float


def race(names: Sequence[str], folder: Path, settings: Settings) -> list[Outcome]:
    """Every step of each contestant, in the order of `names`."""
    if settings.on.on_gpu:
        return [outcome for name in names for outcome in _in_turns([name], folder, settings)]
    return _in_turns(names, folder, settings)


def _in_turns(names: Sequence[str], folder: Path, settings: Settings) -> list[Outcome]:
    racers = [Contestant(name, folder, settings) for name in names]
    laps: list[list[dict[str, Any]]] = []
    for step in range(settings.steps):
        laps.append([racer.step() for racer in racers])
        told = (f"{name} {lap['seconds']:.2f} s, loss {lap['loss']:.6f}"
                for name, lap in zip(names, laps[-1], strict=True))  # fmt: skip
        print(f"step {step + 1}: {'; '.join(told)}", flush=True)
    peaks = [racer.finish() for racer in racers]
    for name, peak in zip(names, peaks, strict=True):
        print(f"{name}: {peak:.0f} MiB at the peak", flush=True)
    return [
        Outcome([lap["seconds"] for lap in of_one], [lap["loss"] for lap in of_one], peak)
        for of_one, peak in zip(zip(*laps, strict=True), peaks, strict=True)
    ]
