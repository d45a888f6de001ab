"""On a CUDA device: FlexAttention over packed rows against eager attention over padded ones.

tests/unit/training/packed/test_attentions.py runs the same on a CPU, by the attention there.
"""

import pytest
import torch
from attention_cases import PAIRS, assert_as_close_as_eager, assert_equal, gemma, scored
from torch._dynamo.utils import counters

from training.packed import flex
from training.packed.logprobs import PairScorer
from training.packed.packing import Layout, Pair, make_batch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("head_size", [64, 256])
@pytest.mark.parametrize("layout", ["packed", "shared"])
def test_flex_with_a_shared_prompt_equals_eager_over_padded_rows(
    layout: Layout, head_size: int
) -> None:
    found = scored(flex.NAME, layout, head_size=head_size)
    assert_equal(found, scored("eager", "separate", head_size=head_size))


@pytest.mark.parametrize("head_size", [64, 128, 256])
def test_flex_under_autocast_is_as_close_to_float32_as_eager_in_bfloat16(head_size: int) -> None:
    assert_as_close_as_eager(flex.NAME, "cuda", head_size)


@pytest.mark.parametrize("head_size", [64, 256])
def test_activations_that_are_recomputed_behind_a_sliding_window_leave_gradients_as_they_are(
    head_size: int,
) -> None:
    found = scored(flex.NAME, "packed", head_size=head_size, recomputed=True)
    assert_equal(found, scored("eager", "separate", head_size=head_size))


@pytest.mark.parametrize("bfloat16", [False, True])
def test_fifteen_lengths_of_rows_compile_nothing_after_those_that_they_are_padded_to(
    bfloat16: bool,
) -> None:
    scorer = PairScorer(gemma("cuda", layers=2), 1 << 20)
    scorer.policy.set_attn_implementation(flex.NAME)

    def run(extra: int) -> int:
        """Tokens of the padded row; a prompt longer by `extra`."""
        longer = Pair("p", [2, *range(10, 30 + extra)], PAIRS[0].chosen, PAIRS[0].rejected)
        batch = make_batch([*PAIRS, longer], "packed", flex.BLOCK).to(torch.device("cuda"))
        with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16):
            scorer(batch)[0].sum().backward()
        return flex.padded_length(batch.branch.numel())

    warm = {run(extra) for extra in range(0, 450, 30)}
    compiled = counters["stats"]["unique_graphs"]
    again = {run(extra) for extra in range(7, 427, 30)}
    assert again <= warm and len(warm) > 1
    assert counters["stats"]["unique_graphs"] == compiled
