"""On a CUDA device with flash-attn: varlen calls over packed rows, eager over padded ones."""

import pytest
import torch
from gpu_pairs import scored

from training.packed import flash

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(bool(flash.unavailable()), reason="no flash-attn from 2.6.3 on"),
]

EMBEDDING = "model.embed_tokens.weight"


def test_flash_over_packed_rows_is_as_close_to_float32_as_eager_in_bfloat16() -> None:
    flash.register()
    exact, exact_gradients = scored("eager", "separate", bfloat16=False)
    eager, eager_gradients = scored("eager", "separate", bfloat16=True)
    found, gradients = scored(flash.NAME, "packed", bfloat16=True)
    assert (found - exact).abs().max() <= 2 * (eager - exact).abs().max() + 1e-3
    error, allowed = (
        (value[EMBEDDING] - exact_gradients[EMBEDDING]).norm() / exact_gradients[EMBEDDING].norm()
        for value in (gradients, eager_gradients)
    )
    assert error <= 2 * allowed + 1e-3
