"""Rows that hold each prompt once: where everything lies, and who sees whom."""

import pytest
import torch

from annotation.armorm import flex_mask
from annotation.armorm.flex_mask import BLOCK, attend
from annotation.armorm.shared_prompt import pack
from annotation.scorers.batches import Group
from runtime.flex_compile import compiled_attention, compiled_mask

CPU = torch.device("cpu")
GROUPS = [
    Group([1, 2, 3], [[4, 5], [6]], [0, 1], gating_at=1),
    Group([7, 8], [[9], [10, 11, 12], [13]], [2, 3, 4], gating_at=0),
]
# By hand: the range that each token belongs to, and its prompt's.
UNITS = {
    range(3): range(3), range(3, 5): range(3), range(5, 6): range(3),
    range(6, 8): range(6, 8), range(8, 9): range(6, 8), range(9, 12): range(6, 8),
    range(12, 13): range(6, 8),
}  # fmt: skip


def seen_by_hand(query: int, key: int) -> bool:
    own, prompt = next((o, p) for o, p in UNITS.items() if query in o)
    return key <= query and (key in own or key in prompt)


def dense(batch) -> torch.Tensor:
    """[N, N], what the block mask's own function says of each pair."""
    at = torch.arange(len(batch.input_ids))
    zero = torch.tensor(0)
    return batch.block_mask.mask_mod(zero, zero, at[:, None], at[None, :])


def test_a_response_sees_its_prompt_and_itself_and_nothing_else():
    seen = dense(pack(GROUPS, CPU, whole=True))
    for query in range(13):
        assert seen[query, :13].tolist() == [seen_by_hand(query, key) for key in range(13)]
    assert not seen[:13, 13:].any()  # nobody sees the padding
    assert seen.diagonal().all()  # and padding sees itself, so that nothing becomes NaN


def test_both_ways_of_attending_have_one_layout():
    apart, whole = pack(GROUPS, CPU), pack(GROUPS, CPU, whole=True)
    assert len(apart.input_ids) == 13
    assert len(whole.input_ids) == BLOCK
    assert torch.equal(whole.input_ids[:13], apart.input_ids)
    assert apart.positions.tolist() == [0, 1, 2, 3, 4, 3, 0, 1, 2, 2, 3, 4, 2]
    assert torch.equal(whole.positions[:13], apart.positions)
    for batch in (apart, whole):
        assert batch.last.tolist() == [4, 5, 8, 11, 12]
        assert batch.gating_at.tolist() == [1, 6]
        assert batch.prompt_of.tolist() == [0, 0, 1, 1, 1]
    assert apart.block_mask is None
    assert [len(s.masks) for s in apart.spans] == [1, 2]
    assert [len(s.masks) for s in whole.spans] == [0, 0]


def test_a_row_of_whole_blocks_is_not_padded():
    batch = pack([Group([1] * 100, [[2] * 28], [0])], CPU, whole=True)
    assert len(batch.input_ids) == BLOCK


@pytest.mark.filterwarnings("ignore:flex_attention called")
def test_flex_attention_equals_attention_under_the_dense_mask():
    torch.manual_seed(0)
    groups = [Group([1] * 70, [[2] * 90, [3] * 40], [0, 1]), Group([4] * 9, [[5] * 30], [2])]
    batch = pack(groups, CPU, whole=True)
    size = len(batch.input_ids)
    query = torch.randn(1, 4, size, 16)
    key, value = torch.randn(1, 2, size, 16), torch.randn(1, 2, size, 16)
    got = attend(query, key, value, 0.25, batch.block_mask)
    want = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=dense(batch), scale=0.25, enable_gqa=True
    )
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    # The blocks that are skipped hold nobody's key.
    assert batch.block_mask.sparsity() > 0


@pytest.mark.filterwarnings("ignore:flex_attention called")
def test_masks_and_attention_of_two_models_are_compiled_past_torchs_own_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A limit of one, as torch's of 8 to an ensemble: past it a mask was made uncompiled, all
    N x N places of it, without a word. Traced here, not through a compiler."""
    from torch._dynamo.utils import counters

    counters.clear()
    attend_, make = (
        compile_it(None, backend="eager") for compile_it in (compiled_attention, compiled_mask)
    )
    monkeypatch.setattr(flex_mask, "plain_attention", lambda: attend_)  # as on a GPU
    monkeypatch.setattr(flex_mask, "plain_mask", lambda: make)
    graphs = []
    with torch._dynamo.config.patch(recompile_limit=1), torch.inference_mode():
        for heads in (4, 8):
            for count in (1, 3, 7, 5):
                batch = pack([Group([1] * 70, [[2] * 90], [0])] * count, CPU, whole=True)
                size = len(batch.input_ids)
                query, key = torch.randn(1, heads, size, 16), torch.randn(1, 2, size, 16)
                flex_mask.attend(query, key, key, 0.25, batch.block_mask)
            graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] == 4 and graphs[1] <= 6
