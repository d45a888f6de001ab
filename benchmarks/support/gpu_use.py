"""How busy the GPUs were while something ran, as `nvidia-smi` samples it."""

import subprocess
import time
from collections.abc import Sequence
from statistics import mean
from threading import Thread
from typing import Self

# Five times a second, a line for each GPU: the percentage of time that a kernel ran.
_SAMPLES = (
    "nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200",
)  # fmt: skip


class GpuUse:
    """Sampled from entering until leaving; without `nvidia-smi` nothing is known."""

    def __init__(self, command: Sequence[str] = _SAMPLES) -> None:
        self._command = command
        self._samples: list[tuple[float, float]] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        except FileNotFoundError:
            return self
        Thread(target=self._read, args=[self._process], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def busy(self, start: float, end: float) -> float | None:
        """The share of time in which a kernel ran, between two readings of `time.monotonic`, mean
        over the GPUs; None without a sample."""
        within = [share for at, share in self._samples if start <= at <= end]
        return round(mean(within), 3) if within else None

    def _read(self, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout or ():
            if line.strip().isdigit():
                self._samples.append((time.monotonic(), int(line) / 100))
