"""On a CUDA device: FlexAttention over packed rows against eager attention over padded ones."""

import pytest
import torch
from gpu_pairs import scored

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_flex_over_packed_rows_equals_eager_over_padded_ones() -> None:
    losses, gradients = scored("flex_attention", "packed")
    expected_losses, expected = scored("eager", "separate")
    torch.testing.assert_close(losses, expected_losses, atol=1e-4, rtol=1e-4)
    for name, gradient in expected.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(gradients[name], gradient, atol=1e-3 * scale, rtol=1e-3)
