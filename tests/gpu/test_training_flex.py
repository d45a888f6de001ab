"""On a CUDA device: FlexAttention over packed rows against eager attention over padded ones."""

import pytest
import torch
from gpu_pairs import scored

from training.packed import flex
from training.packed.packing import Layout

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("layout", ["packed", "shared"])
def test_flex_with_a_shared_prompt_equals_eager_over_padded_rows(layout: Layout) -> None:
    flex.register()
    losses, gradients = scored(flex.NAME, layout)
    expected_losses, expected = scored("eager", "separate")
    torch.testing.assert_close(losses, expected_losses, atol=1e-4, rtol=1e-4)
    for name, gradient in expected.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(gradients[name], gradient, atol=1e-3 * scale, rtol=1e-3)


def test_flex_under_autocast_is_as_close_to_float32_as_eager_in_bfloat16() -> None:
    flex.register()
    exact, _ = scored("eager", "separate", bfloat16=False)
    eager, _ = scored("eager", "separate", bfloat16=True)
    found, _ = scored(flex.NAME, "packed", bfloat16=True)
    assert (found - exact).abs().max() <= 2 * (eager - exact).abs().max() + 1e-3
