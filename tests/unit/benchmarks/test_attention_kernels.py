"""Every attention that is timed is the one that eager attention in float32 is."""

import pytest
import torch
from torch.nn.attention.flex_attention import FlexKernelOptions

from benchmarks.attention_kernels import (
    _cost,
    _eager,
    _flex,
    _results,
    _states,
    contestants,
    main,
    pairs,
)
from benchmarks.support.device import Device
from benchmarks.support.flex_kernels import KERNELS
from benchmarks.support.shapes import PUBLISHED, Shape
from training.packed import flex
from training.packed.packing import make_batch

HEADS = {
    "gemma2": Shape("gemma2", 100, 64, 1, 4, 2, 32, 128),
    "llama": Shape("llama", 100, 64, 1, 6, 2, 16, 128),
    "gemma-2-9b": PUBLISHED["gemma-2-9b"],  # of a shape, its heads alone
}


@pytest.mark.parametrize("family", HEADS)
@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-5), ("bfloat16", 5e-2)])
@pytest.mark.parametrize("tokens", [128, 100])  # the row of 100 is padded
def test_each_contestant_gives_eagers_outputs_and_gradients(
    family: str, dtype: str, most: float, tokens: int
) -> None:
    shape, device = HEADS[family], Device("cpu", dtype)
    batch = make_batch(pairs(tokens), "packed", flex.BLOCK)
    real = batch.branch[0] >= 0
    states = _states(shape, batch, device)
    exact = _results(_eager(shape, batch), [tensor.float() for tensor in states], real)
    found = contestants(shape, batch, device)
    assert [*found] == ["segments", "eager"]
    for attend in found.values():
        cost = _cost(attend, states, exact, real, device, passes=1)
        assert cost.error < most and cost.milliseconds > 0


@pytest.mark.parametrize("tokens", [2048, 8192])
def test_the_row_holds_four_pairs_of_the_tokens_asked_for(tokens: int) -> None:
    assert len(pairs(tokens)) == 4 and sum(pair.length for pair in pairs(tokens)) == tokens
    assert torch.equal(
        make_batch(pairs(tokens), "packed").branch[0].bincount(),
        torch.tensor([tokens // 4, 3 * tokens // 8, 3 * tokens // 8]),
    )


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernels_options_are_torchs_and_cut_the_masks_blocks_evenly(name: str) -> None:
    known = {
        f"{way}_{option}" for way in ("fwd", "bwd") for option in FlexKernelOptions.__annotations__
    }
    assert KERNELS[name].keys() <= known
    assert all(flex.BLOCK % size == 0 for key, size in KERNELS[name].items() if "BLOCK" in key)


def test_flex_takes_the_options_of_a_kernel() -> None:
    shape, device = HEADS["gemma2"], Device("cpu", "float32")
    batch = make_batch(pairs(128), "packed", flex.BLOCK)
    states = _states(shape, batch, device)
    plain, *others = (
        _flex(shape, batch, options)(tuple(states)) for options in (None, *KERNELS.values())
    )
    torch.testing.assert_close(plain, _eager(shape, batch)(tuple(states)))
    assert all(torch.equal(other, plain) for other in others)


def test_other_kernels_are_timed_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["attention_kernels", "--kernel=wide-backward"])
    with pytest.raises(SystemExit, match="--device cuda"):
        main()
