"""Every head that is timed gives the gradients of float32 logits."""

import pytest

from benchmarks.head_kernels import _cost, _gradients, _inputs, _whole, contestants
from benchmarks.support.device import Device


@pytest.mark.parametrize(
    ("dtype", "hidden", "most"),
    # Gemma-2-9B's width, over a sixty-fourth of its words.
    [("float32", 32, 1e-5), ("bfloat16", 32, 2e-2), ("bfloat16", 3584, 2e-2)],
)
def test_each_contestant_gives_the_gradients_of_float32_logits(
    dtype: str, hidden: int, most: float
) -> None:
    device = Device("cpu", dtype)
    states, weight, targets = _inputs(16, hidden, 4000 if hidden > 32 else 512, device)
    exact = _gradients(_whole, states.float(), weight.float(), targets)
    found = contestants(1 << 20)
    assert [*found][:2] == ["ours", "whole"]
    for name in ("ours", "whole"):
        cost = _cost(found[name], (states, weight, targets), exact, device, passes=1)
        assert max(cost.state_error, cost.weight_error) < most and cost.peak_mib is None
