"""How often FlexAttention is compiled for rows of many lengths, counted where torch traces it.

What is traced runs as it is, not through a compiler. Its kernels, which the CPU has none of with
a backward pass, are tested on a GPU (tests/gpu).
"""

from typing import Any

import pytest
import torch

from runtime.flex_compile import compiled_attention, compiled_mask
from training.packed import attention, flex
from training.packed.packing import Layout, Pair, make_batch

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called")


def pairs(count: int) -> list[Pair]:
    return [
        Pair(str(n), [*range(20 + 7 * n)], [*range(5 + 31 * (n % 6))], [*range(9 + 11 * (n % 9))])
        for n in range(count)
    ]


# One row of 128 tokens, one of 256, and two of 128: one length, once padded.
BATCHES: list[tuple[int, Layout]] = [(1, "packed"), (3, "packed"), (2, "shared")]


@pytest.mark.parametrize("tokens", [1, 128, 256, 257, 1024, 1025, 5000, 8192, 131072])
def test_padding_is_less_than_a_block_or_a_quarter(tokens: int) -> None:
    length = flex.padded_length(tokens)
    assert length % flex.BLOCK == 0
    assert 2 * flex.BLOCK <= length < max(256 + 1, tokens + flex.BLOCK, tokens * 1.25)


def test_few_lengths_are_compiled_for() -> None:
    assert len({flex.padded_length(tokens) for tokens in range(1, 131073)}) == 35


def test_a_length_is_compiled_for_once_whatever_the_layout_and_torch_takes_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Past a limit, which torch has at 8 and this test at 2, training would end: with and without
    gradients, as in KTO's two passes, under two masks, as in Gemma-2, are four a length."""
    from torch._dynamo.utils import counters
    from torch.nn.attention import flex_attention

    counters.clear()
    attend, make_mask = (
        compile_it(False, backend="eager") for compile_it in (compiled_attention, compiled_mask)
    )
    monkeypatch.setattr(flex, "plain_attention", lambda: attend)  # as on a GPU
    monkeypatch.setattr(flex, "plain_mask", lambda: make_mask)
    # It refuses gradients on the CPU, for which there is no kernel; traced they need none.
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)
    torch.manual_seed(0)
    graphs = []
    with torch._dynamo.config.patch(recompile_limit=2):
        for count, layout in BATCHES:
            for window in (None, 40):
                for gradients in (True, False):
                    check_against_segments(pairs(count), layout, window, gradients)
            graphs.append(counters["stats"]["unique_graphs"])
    # Making a mask is compiled once for each of the two.
    assert graphs == [6, 6, 6]


def check_against_segments(
    members: list[Pair], layout: Layout, window: int | None, gradients: bool
) -> None:
    batch = make_batch(members, layout, flex.BLOCK)
    rows, width = batch.branch.shape
    states = [torch.randn(rows, heads, width, 32, requires_grad=gradients) for heads in (4, 2, 2)]
    settings: dict[str, Any] = {"scaling": 0.3, "softcap": 3.0, "sliding_window": window}
    module, real = torch.nn.Module(), batch.branch >= 0
    with torch.set_grad_enabled(gradients):
        found, _ = flex.flex_attention(module, *states, flex.block_mask(batch, window), **settings)
        each = [members] if layout == "packed" else [[pair] for pair in members]
        parts = [
            attention.segments_attention(
                module, *(tensor[number : number + 1] for tensor in states), None,
                segments=make_batch(row, "packed").segments, **settings,
            )[0]
            for number, row in enumerate(each)
        ]  # fmt: skip
    expected = torch.cat(parts)
    assert found.shape == expected.shape and bool(found.isfinite().all())
    close(found[real], expected[real])
    if gradients:
        weights = torch.randn_like(expected[real])
        ours, theirs = (
            torch.autograd.grad((out[real] * weights).sum(), states) for out in (found, expected)
        )
        for one, other in zip(ours, theirs, strict=True):
            close(one, other)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
