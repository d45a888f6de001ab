"""The GPUs' busy share, as a step's manifest and the report have it."""

import threading
import time

from runtime.gpu_busy import busy_share, gpu_reader


def test_the_share_is_the_mean_of_all_readings_until_one_fails() -> None:
    given, failed = [0.0, 1.0, 0.5], threading.Event()

    def read() -> float:
        if not given:
            failed.set()
        return given.pop()

    with busy_share(read, every=1e-4) as busy:
        assert failed.wait(10)
        assert busy() == 0.5


def test_without_a_gpu_nothing_is_measured() -> None:
    with busy_share(gpu_reader(), every=1e-4) as busy:
        time.sleep(0.01)
        assert busy() is None
