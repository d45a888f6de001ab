"""Which GPUs of this machine are in sight, and how busy they are, as NVML tells it: the figures of
`nvidia-smi`."""

import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from runtime.device import visible_gpus

_EVERY_SECONDS = 1.0
Reader = Callable[[], float]


def gpu_reader() -> Reader | None:
    """Reads the share of the last sixth of a second to second in which any kernel ran, the mean of
    the GPUs in sight. None without a GPU, or where NVML does not tell."""
    if not (names := visible_gpus()):
        return None
    with suppress(Exception):  # a figure for the report is worth no stage
        return partial(_mean_share, *_opened(names))
    return None


def gpus_in_sight() -> list[str]:
    """The GPUs that this process would compute on, by their UUIDs; by their names where NVML does
    not tell. A number is a process's own: each SLURM job that sees one GPU alone calls it 0."""
    names = visible_gpus()
    with suppress(Exception):
        nvml, gpus = _opened(names)
        return [str(nvml.nvmlDeviceGetUUID(gpu)) for gpu in gpus]
    return names


def _opened(names: Sequence[str]) -> tuple[Any, list[Any]]:
    nvml = importlib.import_module("pynvml")  # of nvidia-ml-py, which vLLM brings along
    nvml.nvmlInit()
    return nvml, [_handle(nvml, name) for name in names]


def _mean_share(nvml: Any, gpus: Sequence[Any]) -> float:
    return sum(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu for gpu in gpus) / (100 * len(gpus))


def _handle(nvml: Any, name: str) -> Any:
    """By its number or UUID. NVML numbers by the bus and CUDA by speed, which differs only where
    GPUs of several kinds are in one machine."""
    if name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name)


@contextmanager
def busy_share(
    read: Reader | None, every: float = _EVERY_SECONDS
) -> Iterator[Callable[[], float | None]]:
    """Within, what is yielded tells the mean reading so far; None where there is none."""
    readings: list[float] = []
    over = threading.Event()

    def sample(read: Reader) -> None:
        with suppress(Exception):  # as above: those so far count
            while not over.wait(every):
                readings.append(read())

    if read:
        threading.Thread(target=sample, args=(read,), name="GPU busy", daemon=True).start()
    try:
        yield lambda: round(sum(readings) / len(readings), 4) if readings else None
    finally:
        over.set()
