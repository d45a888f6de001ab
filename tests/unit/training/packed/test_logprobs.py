"""Shared prompts and chunked heads give what the plain, padded, full-logits way gives."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from training.losses.base import pair_losses
from training.losses.reference_free.simpo import SimPOConfig
from training.losses.wpo import weighted
from training.packed import attention
from training.packed.flex import block_mask, flex_attention
from training.packed.logprobs import PairScorer, as_pairs
from training.packed.packing import Pair, attention_allowed, make_batch

COMMON = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
}


def gemma2(window: int = 64) -> PreTrainedModel:
    # A low cap makes a soft-cap that is left out show.
    config = Gemma2Config(
        **COMMON, head_dim=8, query_pre_attn_scalar=8, sliding_window=window,
        final_logit_softcapping=2.0, attn_logit_softcapping=3.0, attn_implementation="eager",
    )  # fmt: skip
    return Gemma2ForCausalLM(config)


def llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**COMMON, attn_implementation="sdpa"))


def mistral() -> PreTrainedModel:
    config = MistralConfig(**COMMON, sliding_window=6, attn_implementation="sdpa")
    return MistralForCausalLM(config)


def qwen2() -> PreTrainedModel:
    config = Qwen2Config(
        **COMMON, sliding_window=6, use_sliding_window=True, max_window_layers=1,
        attn_implementation="sdpa",
    )  # fmt: skip
    return Qwen2ForCausalLM(config)


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "gemma2": gemma2,
    "gemma2 with a short window": lambda: gemma2(window=6),
    "llama": llama,
    "mistral with a short window": mistral,
    "qwen2 with a short window": qwen2,
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(1)
    return MODELS[request.param]().train()


PAIRS = [
    Pair("a", [1, 5, 6, 7, 8], [9, 10, 11], [12, 13, 14, 15, 16, 17]),
    Pair("b", [1, 20, 21, 22, 23, 24, 25, 26, 27], [30, 31, 32, 33, 34], [35]),
    Pair("c", [1, 40], [41, 42, 43, 44], [45, 46], 2, 1),
]


def full_logits(model: PreTrainedModel, pair: Pair, side: str) -> torch.Tensor:
    """Log-probs in the loss of one response, in the way every textbook has it."""
    response, start = getattr(pair, side), getattr(pair, f"{side}_start")
    ids = torch.tensor([[*pair.prompt, *response]])
    logits = model(input_ids=ids, use_cache=False).logits.log_softmax(-1)
    first = len(pair.prompt) + start
    return logits[0, first - 1 : -1].gather(1, ids[0, first:, None]).squeeze(1)


def score(model: PreTrainedModel, layout: str, logits_bytes: int = 1 << 20, **asked: bool):
    if layout == "segments":
        attention.register()
        model.set_attn_implementation(attention.NAME)
        layout = "packed"
    return as_pairs(*PairScorer(model, logits_bytes, **asked)(make_batch(PAIRS, layout)))


LAYOUTS = ["packed", "shared", "segments"]


@pytest.mark.parametrize("layout", [*LAYOUTS, "separate"])
def test_response_log_probs_equal_those_of_full_logits(model: PreTrainedModel, layout: str) -> None:
    expected = [
        [full_logits(model, pair, side) for pair in PAIRS] for side in ("chosen", "rejected")
    ]
    scored = score(model, layout)
    for side, rows in zip((scored.chosen, scored.rejected), expected, strict=True):
        assert side.tokens.tolist() == [len(row) for row in rows]
        shared = [row[: min(map(len, pair))].sum()
                  for row, pair in zip(rows, zip(*expected, strict=True), strict=True)]  # fmt: skip
        torch.testing.assert_close(side.shared, torch.stack(shared), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(side.total, torch.stack([row.sum() for row in rows]),
                                   atol=1e-5, rtol=1e-5)  # fmt: skip


def gradients(model: PreTrainedModel, layout: str, logits_bytes: int) -> dict[str, torch.Tensor]:
    model.zero_grad()
    pair_losses(SimPOConfig(), score(model, layout, logits_bytes)).loss.mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_shared_prompt_and_a_chunked_head_leave_gradients_as_they_are(
    model: PreTrainedModel, layout: str
) -> None:
    plain = gradients(model, "separate", logits_bytes=1 << 20)
    packed = gradients(model, layout, logits_bytes=4 * 97 * 5)  # five columns of logits at once
    for name, gradient in plain.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(packed[name], gradient, atol=2e-5 * scale, rtol=1e-4)


@pytest.mark.parametrize("layout", [*LAYOUTS, "separate"])
def test_wpos_weights_are_those_of_full_logits(model: PreTrainedModel, layout: str) -> None:
    def aligned(pair: Pair, side: str) -> torch.Tensor:
        response, start = getattr(pair, side), getattr(pair, f"{side}_start")
        ids = torch.tensor([[*pair.prompt, *response]])
        probs = model(input_ids=ids, use_cache=False).logits.softmax(-1)[0]
        first = len(pair.prompt) + start
        probs, drawn = probs[first - 1 : -1], ids[0, first:, None]
        return (probs.gather(1, drawn).squeeze(1) / probs.square().sum(-1)).log().mean()

    expected = [(aligned(pair, "chosen") + aligned(pair, "rejected")).exp() for pair in PAIRS]
    policy = score(model, layout, collisions=True)
    weights = weighted(pair_losses(SimPOConfig(), policy), policy).weights
    torch.testing.assert_close(weights, torch.stack(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layout", [*LAYOUTS, "separate"])
def test_under_autocast_each_layout_learns_what_it_learns_in_float32(
    model: PreTrainedModel, layout: str
) -> None:
    """Weights in float32, as strategy `none` has them. One rounding to bfloat16's 8 bits is off
    by up to 2**-8; a loss of SimPO's is beta, here 10, times as far off as a log-prob."""
    losses, slopes = [], []
    for bfloat16 in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = pair_losses(SimPOConfig(), score(model, layout)).loss.sum()
        loss.backward()
        losses.append(loss.item())
        slopes.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert losses[1] == pytest.approx(losses[0], rel=10 * 2**-8, abs=10 * 2**-8)
    assert torch.cosine_similarity(*slopes, dim=0) > 0.99


def test_a_rejected_response_is_blind_to_the_chosen_one() -> None:
    batch = make_batch([Pair("a", [1, 2], [3, 4], [5, 6])], "shared")
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 2, 3]]
    assert attention_allowed(batch)[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]
    # Both first tokens are predicted at the prompt's end.
    assert batch.predictors.tolist() == [1, 2, 1, 4]
    assert batch.targets.tolist() == [3, 4, 5, 6]
    assert batch.responses.tolist() == [0, 0, 1, 1]


def test_a_window_counts_positions_not_places_in_the_row() -> None:
    batch = make_batch([Pair("a", [1, 2], [3, 4], [5, 6])], "shared")
    # Position 2 of the rejected response lies 4 places but 2 positions behind the first token.
    assert attention_allowed(batch, window=3)[0, 0, 4].tolist() == [True, True, False, False,
                                                                  True, False]  # fmt: skip
    assert attention_allowed(batch, window=2)[0, 0, 4].tolist() == [False, True, False, False,
                                                                  True, False]  # fmt: skip


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
def test_the_block_mask_allows_what_the_dense_mask_allows(layout: Any, window: int | None) -> None:
    from torch.nn.attention.flex_attention import create_mask

    batch = make_batch(PAIRS, layout, multiple=32)
    rows, length = batch.branch.shape
    mask = block_mask(batch, window)
    padded = mask.shape[-1]
    laid_out = create_mask(mask.mask_mod, 1, 1, padded, padded, device="cpu")[0, 0]
    expected = torch.zeros(padded, padded, dtype=torch.bool)
    expected[: rows * length, : rows * length] = torch.block_diag(
        *attention_allowed(batch, window)[:, 0]
    )
    real = F.pad(batch.branch.flatten() >= 0, (0, padded - rows * length))
    assert torch.equal(laid_out[real], expected[real])


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_gives_what_attention_pair_by_pair_gives() -> None:
    torch.manual_seed(0)
    batch = make_batch(PAIRS, "packed", multiple=32)
    length = batch.branch.shape[1]
    query, key, value = (torch.randn(1, heads, length, 8) for heads in (4, 2, 2))
    with torch.no_grad():
        expected, _ = flex_attention(
            torch.nn.Module(), query, key, value, block_mask(batch, 6), scaling=0.3, softcap=3.0
        )
    found, _ = attention.segments_attention(
        torch.nn.Module(), query, key, value, None, scaling=0.3, softcap=3.0, sliding_window=6,
        segments=batch.segments,
    )  # fmt: skip
    real = batch.branch[0] >= 0
    torch.testing.assert_close(found[:, real], expected[:, real])
