"""On a CUDA device: NVML tells how busy it is, whatever CUDA_VISIBLE_DEVICES calls it."""

import time

import pytest
import torch

from runtime.gpu_busy import busy_share, gpu_reader

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_gpu_that_multiplies_all_the_time_is_busy() -> None:
    factor = torch.randn(8192, 8192, device="cuda")
    until = time.monotonic() + 4
    with busy_share(gpu_reader()) as busy:
        while time.monotonic() < until:
            factor @ factor
            torch.cuda.synchronize()
        share = busy()
    assert share is not None and 0.5 < share <= 1
