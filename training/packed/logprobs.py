"""A policy as a function from a batch of pairs to their responses' log-probs.

Shapes as in packing.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.losses.base import PairLogprobs, ResponseLogprobs
from training.packed import attention, flash, flex
from training.packed.head import ResponseHead
from training.packed.packing import Batch, additive, attention_allowed


class PairScorer(nn.Module):
    """A policy whose forward turns a batch of pairs into their responses' log-probs."""

    def __init__(self, policy: Any, logits_bytes: int, collisions: bool = False) -> None:
        """
        Args:
            collisions: give `ResponseLogprobs.collisions` too.
        """
        super().__init__()
        self.collisions = collisions
        self.policy = policy
        self.config = policy.config
        softcap = getattr(policy.config, "final_logit_softcapping", None)
        policy.lm_head = ResponseHead(policy.lm_head, softcap, logits_bytes)

    def forward(self, batch: Batch) -> tuple[Float[Tensor, "responses"], ...]:
        """What `as_pairs` takes, of each response, float32.

        A plain tuple: ZeRO-3 hangs its hooks on tensors that it can find.
        """
        # Without the head: only tokens in the loss get logits, 1 MB each in float32 at Gemma's
        # 256,000 words (recipe, section 6).
        hidden = self.policy.base_model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            use_cache=False,
            **self._attention(batch),
        ).last_hidden_state
        states = hidden.flatten(0, 1)[batch.predictors]
        logprobs = self.policy.lm_head(states, batch.targets, self.collisions)
        collisions = []
        if self.collisions:
            logprobs, of_tokens = logprobs
            collisions = [_summed(of_tokens.detach(), batch)]
        total = _summed(logprobs, batch)
        tokens = torch.bincount(batch.responses, minlength=batch.size).to(total.dtype)
        return total, tokens, _summed(logprobs * batch.shared, batch), *collisions

    def _attention(self, batch: Batch) -> dict[str, Any]:
        """What tells the attention layers who attends to whom."""
        if self.config._attn_implementation == attention.NAME:
            return {"attention_mask": None, "segments": batch.segments}
        if self.config._attn_implementation == flash.NAME:
            places = flash.Sequences.of(batch.segments, batch.input_ids.device)
            return {"attention_mask": None, "sequences": places}
        return {"attention_mask": self._masks(batch)}

    def _masks(self, batch: Batch) -> Any:
        """One mask, or one a kind of layer where the sliding window matters."""
        make = flex.block_mask if self.config._attn_implementation == flex.NAME else self._dense
        full = make(batch, None)
        window = sliding_window(self.config)
        # A window masks nothing where no position lies that far back, as below Gemma-2's 4,096.
        if window is None or batch.positions <= window:
            return full
        sliding = make(batch, window)
        # Gemma-2 takes a mask for each kind of its layers, Llama one for all.
        if "full_attention" in (getattr(self.config, "layer_types", None) or ()):
            return {"full_attention": full, "sliding_attention": sliding}
        return sliding

    def _dense(self, batch: Batch, window: int | None) -> Float[Tensor, "rows 1 length length"]:
        dtype = self.policy.get_input_embeddings().weight.dtype
        return additive(attention_allowed(batch, window), dtype)


def as_pairs(
    total: Float[Tensor, "responses"],
    tokens: Float[Tensor, "responses"],
    shared: Float[Tensor, "responses"],
    collisions: Float[Tensor, "responses"] | None = None,
) -> PairLogprobs:
    """A PairScorer's output, by pair: every chosen response comes before every rejected."""
    values = [total, tokens, shared, *([] if collisions is None else [collisions])]
    chosen, rejected = zip(*(value.chunk(2) for value in values), strict=True)
    return PairLogprobs(ResponseLogprobs(*chosen), ResponseLogprobs(*rejected))


def _summed(values: Float[Tensor, "tokens"], batch: Batch) -> Float[Tensor, "responses"]:
    """By response."""
    return values.new_zeros(batch.size).index_add(0, batch.responses, values)


def sliding_window(config: Any) -> int | None:
    """A model's window in tokens, none where it has none or does not use it (Qwen2's switch)."""
    if getattr(config, "use_sliding_window", True) is False:
        return None
    return getattr(config, "sliding_window", None)
