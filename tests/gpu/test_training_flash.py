"""On a CUDA device with flash-attn: varlen calls over packed rows, eager over padded ones."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from training import flash
from training.logprobs import PairScorer, as_pairs
from training.loss_config import SimPOConfig
from training.losses import pair_losses
from training.packing import Layout, Pair, make_batch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(bool(flash.unavailable()), reason="no flash-attn from 2.6.3 on"),
]

PAIRS = [
    Pair(str(n), [2, *range(10, 40 + 9 * n)], [*range(50, 90 + 5 * n)], [*range(100, 120 + 31 * n)])
    for n in range(5)
]


def scored(attention: str, layout: Layout, bfloat16: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The pairs' losses and the embedding's gradient; float32 weights."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=512, hidden_size=256, intermediate_size=512, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64, sliding_window=64,
        query_pre_attn_scalar=64, attn_logit_softcapping=3.0, final_logit_softcapping=5.0,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).cuda().train()
    model.set_attn_implementation(attention)
    batch = make_batch(PAIRS, layout, 128).to(torch.device("cuda"))
    with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16):
        losses = pair_losses(SimPOConfig(), as_pairs(*PairScorer(model, 1 << 20)(batch))).loss
    losses.sum().backward()
    gradient = model.get_input_embeddings().weight.grad
    assert gradient is not None
    return losses.detach(), gradient


def test_flash_over_packed_rows_is_as_close_to_float32_as_eager_in_bfloat16() -> None:
    flash.register()
    exact, exact_gradient = scored("eager", "separate", bfloat16=False)
    eager, eager_gradient = scored("eager", "separate", bfloat16=True)
    found, gradient = scored(flash.NAME, "packed", bfloat16=True)
    assert (found - exact).abs().max() <= 2 * (eager - exact).abs().max() + 1e-3
    error, allowed = (
        (value - exact_gradient).norm() / exact_gradient.norm()
        for value in (gradient, eager_gradient)
    )
    assert error <= 2 * allowed + 1e-3
