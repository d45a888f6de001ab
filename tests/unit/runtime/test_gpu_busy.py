"""The GPUs' busy share, as a step's manifest and the report have it."""

import sys
import threading
import time
from types import SimpleNamespace

import pytest

from runtime.gpu_busy import busy_share, gpu_reader, gpus_in_sight


def test_the_share_is_the_mean_of_all_readings_until_one_fails() -> None:
    given, failed = [0.0, 1.0, 0.5], threading.Event()

    def read() -> float:
        if not given:
            failed.set()
        return given.pop()

    with busy_share(read, every=1e-4) as busy:
        assert failed.wait(10)
        assert busy() == 0.5


def test_a_gpu_is_known_by_its_uuid_whatever_a_process_calls_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gpu(name: str, known: dict[str, str]) -> list[str]:
        """What a process that sees `name` knows it by, with the driver's GPUs by number."""
        nvml = SimpleNamespace(
            nvmlInit=lambda: None, nvmlDeviceGetUUID=lambda handle: handle,
            nvmlDeviceGetHandleByIndex=lambda number: known[str(number)],
            nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        )  # fmt: skip
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", name)
        return gpus_in_sight()

    monkeypatch.setattr("runtime.device.torch_build", lambda: "cuda")
    first_job, second_job = gpu("0", {"0": "GPU-a"}), gpu("0", {"0": "GPU-b"})
    assert (first_job, second_job) == (["GPU-a"], ["GPU-b"])
    assert gpu("1", {"0": "GPU-a", "1": "GPU-b"}) == gpu("GPU-b", {}) == ["GPU-b"]
    assert gpu("7", {}) == ["7"], "NVML does not tell"


def test_without_a_gpu_nothing_is_measured() -> None:
    with busy_share(gpu_reader(), every=1e-4) as busy:
        time.sleep(0.01)
        assert busy() is None
