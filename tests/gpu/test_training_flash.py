"""On a CUDA device with flash-attn: varlen calls over packed rows, eager over padded ones."""

import pytest
import torch
from attention_cases import assert_as_close_as_eager

from training.packed import flash

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(bool(flash.unavailable()), reason="no flash-attn from 2.6.3 on"),
]


@pytest.mark.parametrize("head_size", [64, 256])
def test_flash_over_packed_rows_is_as_close_to_float32_as_eager_in_bfloat16(
    head_size: int,
) -> None:
    assert_as_close_as_eager(flash.NAME, "cuda", head_size)
