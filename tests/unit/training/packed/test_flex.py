"""How often FlexAttention is compiled for rows of many lengths, counted where torch traces it.

What is traced runs as it is, not through a compiler. Its kernels and their backward pass, which
the CPU has none of, are tested on a GPU (tests/gpu).
"""

from typing import Any

import pytest
import torch

from training.packed import attention, flex
from training.packed.packing import Pair, make_batch

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called")


def pairs(count: int) -> list[Pair]:
    return [
        Pair(str(n), [*range(20 + 7 * n)], [*range(5 + 31 * (n % 6))], [*range(9 + 11 * (n % 9))])
        for n in range(count)
    ]


def test_rows_of_all_lengths_under_two_masks_are_compiled_for_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Past torch's limit of 8 it would fail, and not fall back to laying out all L x L scores."""
    from torch._dynamo.utils import counters

    counters.clear()
    attend, make_mask = flex.compiled(backend="eager"), flex.compiled_mask(backend="eager")
    monkeypatch.setattr(flex, "_plain", lambda: attend)  # as on a GPU
    monkeypatch.setattr(flex, "_plain_mask", lambda: make_mask)
    torch.manual_seed(0)
    graphs = []
    for count in (1, 2, 4, 3, 6):
        batch = make_batch(pairs(count), "packed", flex.BLOCK)
        length = batch.branch.shape[1]
        states = [torch.randn(1, heads, length, 32) for heads in (4, 2, 2)]
        for window in (None, 40):
            settings: dict[str, Any] = {"scaling": 0.3, "softcap": 3.0, "sliding_window": window}
            masked, segments = flex.block_mask(batch, window), batch.segments
            with torch.no_grad():
                found, _ = flex.flex_attention(torch.nn.Module(), *states, masked, **settings)
                expected, _ = attention.segments_attention(
                    torch.nn.Module(), *states, None, segments=segments, **settings
                )
            real = batch.branch[0] >= 0
            torch.testing.assert_close(found[:, real], expected[:, real], atol=1e-4, rtol=1e-4)
        graphs.append(counters["stats"]["unique_graphs"])
    print(f"graphs after each length: {graphs}")
    # Making and using each of two masks is compiled for its first length, which two of these
    # rows have, and then for any.
    assert graphs == [4, 4, 8, 8, 8]
