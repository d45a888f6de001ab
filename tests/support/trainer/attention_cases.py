"""Pairs of a Gemma-2 scored on a device by one attention or another, in one layout or another."""

import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from training.losses.base import pair_losses
from training.losses.reference_free.simpo import SimPOConfig
from training.packed import attention, flash, flex
from training.packed.flex import BLOCK
from training.packed.logprobs import PairScorer, as_pairs
from training.packed.packing import Layout, Pair, make_batch

PAIRS = [
    Pair(str(n), [2, *range(10, 40 + 9 * n)], [*range(50, 90 + 5 * n)], [*range(100, 120 + 31 * n)])
    for n in range(5)
]
EMBEDDING = "model.embed_tokens.weight"

Scored = tuple[torch.Tensor, dict[str, torch.Tensor]]
"""Losses of the pairs, and the weights' gradients."""


def gemma(device: str, head_size: int = 64, layers: int = 4) -> Gemma2ForCausalLM:
    """Random float32 weights that soft-cap hard, and a window shorter than most pairs."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=512, hidden_size=256, intermediate_size=512, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, head_dim=head_size, sliding_window=64,
        query_pre_attn_scalar=head_size, attn_logit_softcapping=3.0, final_logit_softcapping=5.0,
    )  # fmt: skip
    for module in (attention, flash, flex):
        module.register()
    return Gemma2ForCausalLM(config).to(device).train()


def scored(
    name: str,
    layout: Layout,
    device: str = "cuda",
    *,
    bfloat16: bool = False,
    head_size: int = 64,
    recomputed: bool = False,
) -> Scored:
    """Under the attention `name`; in bfloat16 under autocast, as training runs it."""
    model = gemma(device, head_size)
    model.set_attn_implementation(name)
    if recomputed:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    batch = make_batch(PAIRS, layout, BLOCK).to(torch.device(device))
    with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
        losses = pair_losses(SimPOConfig(), as_pairs(*PairScorer(model, 1 << 20)(batch))).loss
    losses.sum().backward()
    return losses.detach(), {name: p.grad for name, p in model.named_parameters()}


def assert_equal(found: Scored, expected: Scored) -> None:
    """Losses and gradients within float32's rounding."""
    torch.testing.assert_close(found[0], expected[0], atol=1e-4, rtol=1e-4)
    for name, gradient in expected[1].items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(found[1][name], gradient, atol=1e-3 * scale, rtol=1e-3)


def assert_as_close_as_eager(name: str, device: str, head_size: int = 64) -> None:
    """In bfloat16 the attention is at most twice as far from float32 as eager attention is, in its
    losses and in the embedding's gradient."""
    exact = scored("eager", "separate", device, head_size=head_size)
    eager = scored("eager", "separate", device, head_size=head_size, bfloat16=True)
    found = scored(name, "packed", device, head_size=head_size, bfloat16=True)
    assert (found[0] - exact[0]).abs().max() <= 2 * (eager[0] - exact[0]).abs().max() + 1e-3
    error, allowed = (
        (value[1][EMBEDDING] - exact[1][EMBEDDING]).norm() / exact[1][EMBEDDING].norm()
        for value in (found, eager)
    )
    assert error <= 2 * allowed + 1e-3
