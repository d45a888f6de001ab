"""On a CUDA device: FlexAttention over packed rows against eager attention over padded ones."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from training.logprobs import PairScorer, as_pairs
from training.loss_config import SimPOConfig
from training.losses import pair_losses
from training.packing import Layout, Pair, make_batch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

PAIRS = [
    Pair(str(n), [2, *range(10, 40 + 9 * n)], [*range(50, 90 + 5 * n)], [*range(100, 120 + 31 * n)])
    for n in range(5)
]


def scored(attention: str, layout: Layout) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The pairs' losses and the weights' gradients, in float32."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=512, hidden_size=256, intermediate_size=512, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64, sliding_window=64,
        query_pre_attn_scalar=64, attn_logit_softcapping=3.0, final_logit_softcapping=5.0,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).cuda().train()
    model.set_attn_implementation(attention)
    batch = make_batch(PAIRS, layout, 128).to(torch.device("cuda"))
    losses = pair_losses(SimPOConfig(), as_pairs(*PairScorer(model, 1 << 20)(batch))).loss
    losses.sum().backward()
    return losses.detach(), {name: p.grad for name, p in model.named_parameters()}


def test_flex_over_packed_rows_equals_eager_over_padded_ones() -> None:
    losses, gradients = scored("flex_attention", "packed")
    expected_losses, expected = scored("eager", "separate")
    torch.testing.assert_close(losses, expected_losses, atol=1e-4, rtol=1e-4)
    for name, gradient in expected.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(gradients[name], gradient, atol=1e-3 * scale, rtol=1e-3)
