"""On a CUDA device: the head's logits of bfloat16 factors are float32 sums, never rounded."""

import pytest
import torch

from training.packed.head import target_logprobs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_log_probs_of_bfloat16_states_are_those_of_float32_logits_on_a_gpu() -> None:
    torch.manual_seed(0)
    weight = torch.randn(4096, 1024, device="cuda").bfloat16()
    targets = torch.arange(0, 4096, 16, device="cuda")
    hidden = (
        0.02 * weight[targets].float() + 0.2 * torch.randn(256, 1024, device="cuda")
    ).bfloat16()
    exact = (hidden.double() @ weight.double().T).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    found = target_logprobs(hidden, weight, targets, None, 1 << 20)
    assert (found - exact).abs().max() < 1e-4
