"""What tests/gpu hold FlexAttention to, of the attention that a CPU trains with."""

import pytest
from attention_cases import assert_as_close_as_eager, assert_equal, scored

from training.packed import attention


@pytest.mark.parametrize("head_size", [64, 256])
def test_a_packed_row_equals_eager_over_padded_ones_also_where_activations_are_recomputed(
    head_size: int,
) -> None:
    expected = scored("eager", "separate", "cpu", head_size=head_size)
    for recomputed in (False, True):
        found = scored(attention.NAME, "packed", "cpu", head_size=head_size, recomputed=recomputed)
        assert_equal(found, expected)


@pytest.mark.parametrize("head_size", [64, 256])
def test_under_autocast_it_is_as_close_to_float32_as_eager_in_bfloat16(head_size: int) -> None:
    assert_as_close_as_eager(attention.NAME, "cpu", head_size)
