"""Every attention that is timed is the one that eager attention in float32 is."""

import pytest
import torch

from benchmarks.attention_kernels import _cost, _eager, _results, _states, contestants, pairs
from benchmarks.support.device import Device
from benchmarks.support.shapes import Shape
from training.packed import flex
from training.packed.packing import make_batch

HEADS = {
    "gemma2": Shape("gemma2", 100, 64, 1, 4, 2, 32, 128),
    "llama": Shape("llama", 100, 64, 1, 6, 2, 16, 128),
}


@pytest.mark.parametrize("family", HEADS)
@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-5), ("bfloat16", 5e-2)])
def test_each_contestant_gives_eagers_outputs_and_gradients(
    family: str, dtype: str, most: float
) -> None:
    shape, device = HEADS[family], Device("cpu", dtype)
    batch = make_batch(pairs(128), "packed", flex.BLOCK)
    states = _states(shape, batch, device)
    exact = _results(_eager(shape, batch), [tensor.float() for tensor in states])
    found = contestants(shape, batch, device)
    assert [*found] == ["segments", "eager"]
    for attend in found.values():
        cost = _cost(attend, states, exact, device, passes=1)
        assert cost.error < most and cost.milliseconds > 0


@pytest.mark.parametrize("tokens", [2048, 8192])
def test_the_row_holds_four_pairs_of_the_tokens_asked_for(tokens: int) -> None:
    assert len(pairs(tokens)) == 4 and sum(pair.length for pair in pairs(tokens)) == tokens
    assert torch.equal(
        make_batch(pairs(tokens), "packed").branch[0].bincount(),
        torch.tensor([tokens // 4, 3 * tokens // 8, 3 * tokens // 8]),
    )
