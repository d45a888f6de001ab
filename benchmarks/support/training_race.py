"""Two contestants that take turns step by step, so that both meet the same machine."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.support.training_contestant import Settings
from benchmarks.support.training_rows import quiet


class Contestant:
    """A process that takes an optimizer step when told to."""

    def __init__(self, who: str, folder: Path, settings: Settings) -> None:
        quiet()
        # Read before exec: libraries take their thread settings when they are loaded.
        environment = {**os.environ, "OMP_NUM_THREADS": str(settings.threads)}
        self.name = who
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.support.training_contestant", who, str(folder),
             json.dumps(asdict(settings))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self._read()

    def step(self) -> dict[str, float]:
        """Its next step's seconds and loss."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._read()

    def finish(self) -> float:
        """Let it end; the most memory it held, in MiB."""
        peak = self._read()["peak_mib"]
        self._process.wait()
        return float(peak)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        for line in self._process.stdout or ():
            if line.startswith("::"):
                return json.loads(line[2:])
        raise SystemExit(f"{self.name} ended early with code {self._process.wait()}")
