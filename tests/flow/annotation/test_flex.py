"""FlexAttention compiled, here by the CPU's compiler: right, and not anew for each length."""

import shutil

import pytest
import torch

from annotation.armorm.shared_prompt import pack
from annotation.scorers.batches import Group
from runtime.flex_compile import compiled_attention


def groups(count: int) -> list[Group]:
    return [
        Group(
            list(range(60 + 7 * n)),
            [list(range(5, 20 + 31 * ((n + r) % 6))) for r in range(5)],
            [5 * n + r for r in range(5)],
        )
        for n in range(count)
    ]


@pytest.mark.engine
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for the CPU with g++")
@pytest.mark.filterwarnings("ignore:flex_attention called")
@pytest.mark.parametrize(
    ("dtype", "counts", "apart"),
    [(torch.float32, (1, 2, 3, 5, 4, 8), 1e-5), (torch.bfloat16, (2,), 2**-6)],
    ids=str,
)
def test_rows_of_all_lengths_are_compiled_for_twice_and_equal_the_dense_mask(
    dtype: torch.dtype, counts: tuple[int, ...], apart: float
) -> None:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    graphs = []
    with torch.inference_mode():
        for count in counts:
            batch = pack(groups(count), torch.device("cpu"), whole=True)
            size = len(batch.input_ids)
            at = torch.arange(size)
            dense = batch.block_mask.mask_mod(None, None, at[:, None], at[None])
            query, key, value = (
                torch.randn(1, heads, size, 64, dtype=dtype) for heads in (4, 2, 2)
            )
            got = compiled_attention(dynamic=None)(
                query, key, value, block_mask=batch.block_mask, scale=0.125, enable_gqa=True
            )
            want = torch.nn.functional.scaled_dot_product_attention(
                query, key, value, attn_mask=dense, scale=0.125, enable_gqa=True
            )
            torch.testing.assert_close(got, want, atol=apart, rtol=0)
            graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] > 0  # it was compiled
    assert len(set(graphs[1:])) <= 1
