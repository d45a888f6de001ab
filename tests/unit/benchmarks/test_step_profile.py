"""What a step spends its time on."""

import pytest
import torch

from benchmarks.support.device import Device
from benchmarks.support.step_profile import StepProfile


def test_the_largest_cost_of_matrix_products_is_the_product(
    capsys: pytest.CaptureFixture[str],
) -> None:
    matrix = torch.randn(256, 256)
    profile = StepProfile(Device("cpu", "float32"))
    for _ in range(20):
        matrix @ matrix
    told = profile.end()
    name, share = next(iter(told["largest_costs"].items()))
    assert name == "aten::mm" and 0 < share <= 1
    assert len(told["largest_costs"]) <= 3 and "busy" not in told
    printed = capsys.readouterr()
    assert "aten::mm" in printed.err and not printed.out
