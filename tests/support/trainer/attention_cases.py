"""Pairs of a Gemma-2 scored on a GPU, by one attention or another."""

import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from training.losses.base import pair_losses
from training.losses.reference_free.simpo import SimPOConfig
from training.packed.logprobs import PairScorer, as_pairs
from training.packed.packing import Layout, Pair, make_batch

PAIRS = [
    Pair(str(n), [2, *range(10, 40 + 9 * n)], [*range(50, 90 + 5 * n)], [*range(100, 120 + 31 * n)])
    for n in range(5)
]


def scored(
    attention: str, layout: Layout, bfloat16: bool = False
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The pairs' losses and the weights' gradients; float32 weights."""
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
    return losses.detach(), {name: p.grad for name, p in model.named_parameters()}
