"""Prompts computed once for all their responses, without padding.

A batch is one row: prompt, response, response, ..., next prompt, ... The linear layers see
one long row; each response attends to its prompt and itself, so no score depends on which
others share the batch. Positions restart at the prompt's end. Attention runs response by
response, at the cost of separate conversations, or over the whole row through FlexAttention.
A dense block mask over the row would be quadratic in all of it.
Shapes: length = tokens in the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from annotation.armorm import flex_mask
from annotation.scorers.batches import Group

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

ATTENTION = "onpolicy_shared_prompt"


@dataclass(frozen=True)
class PromptSpan:
    """A prompt at [start, end) and its responses' ranges, the first right behind it."""

    start: int
    end: int
    gating_at: int
    """Where its gating is read."""
    responses: list[tuple[int, int]]
    masks: list[Bool[Tensor, "_response _seen"]]
    """For each response but the first: [its length, prompt's + its length], True is seen.
    None are needed under a block mask."""


@dataclass(frozen=True)
class Packed:
    """Groups laid out in one row, and where to read the result."""

    input_ids: Int[Tensor, "length"]
    positions: Int[Tensor, "length"]
    spans: list[PromptSpan]
    last: Int[Tensor, "responses"]
    """Index of each response's last token."""
    gating_at: Int[Tensor, "prompts"]
    """Index where each prompt's gating is read."""
    prompt_of: Int[Tensor, "responses"]
    """Each response's group."""
    block_mask: "BlockMask | None" = None
    """Who sees whom in the whole row; None where attention runs response by response."""


@dataclass(frozen=True)
class _RowBuilder:
    """A row while it is filled."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    unit: list[int] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)

    def add(self, ids: Sequence[int], position: int, unit: int, prompt: int) -> tuple[int, int]:
        """Where a prompt or a response comes to lie."""
        start = len(self.ids)
        self.ids.extend(ids)
        self.positions.extend(range(position, position + len(ids)))
        self.unit.extend([unit] * len(ids))
        self.prompt.extend([prompt] * len(ids))
        return start, len(self.ids)


def pack(groups: Sequence[Group], device: torch.device, whole: bool = False) -> Packed:
    """Lay out groups, responses in their order.

    Args:
        whole: attend over the whole row, padded behind its end, under a block mask.
    """
    row, spans, unit = _RowBuilder(), [], 0
    for group in groups:
        prompt, size = unit, len(group.prompt)
        start, end = row.add(group.prompt, 0, prompt, prompt)
        ranges = [row.add(response, size, unit := unit + 1, prompt) for response in group.responses]
        masks = [] if whole else [_mask(size, b - a, device) for a, b in ranges[1:]]
        spans.append(PromptSpan(start, end, start + group.gating_at, ranges, masks))
        unit += 1
    if whole:
        row.add([0] * (-len(row.ids) % flex_mask.BLOCK), 0, unit, unit)

    def tensor(values: list[int]) -> Tensor:
        return torch.tensor(values, device=device)

    return Packed(
        tensor(row.ids),
        tensor(row.positions),
        spans,
        last=tensor([end - 1 for span in spans for _, end in span.responses]),
        gating_at=tensor([span.gating_at for span in spans]),
        prompt_of=tensor([i for i, group in enumerate(groups) for _ in group.responses]),
        block_mask=flex_mask.block_mask(tensor(row.unit), tensor(row.prompt)) if whole else None,
    )


def register() -> None:
    """Make the attention known to transformers under its name."""
    AttentionInterface.register(ATTENTION, _attention)


def _mask(prompt: int, response: int, device: torch.device) -> Tensor:
    seen = torch.ones(response, prompt + response, dtype=torch.bool, device=device)
    return seen.tril(prompt)


def _attention(
    module: torch.nn.Module,
    query: Float[Tensor, "rows query_heads length head_size"],
    key: Float[Tensor, "rows key_heads length head_size"],
    value: Float[Tensor, "rows key_heads length head_size"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    batch: Packed | None = None,
    **others: Any,
) -> tuple[Float[Tensor, "rows length query_heads head_size"], None]:
    """Attention of one packed row; without a batch, causal attention of padded rows."""
    if batch is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
    if batch.block_mask is not None:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return flex_mask.attend(query, key, value, scale, batch.block_mask).transpose(1, 2), None
    out = torch.empty_like(query)
    for span in batch.spans:
        _attend(span, query, key, value, scaling, out)
    return out.transpose(1, 2), None


def _attend(
    span: PromptSpan, query: Tensor, key: Tensor, value: Tensor, scale: float | None, out: Tensor
) -> None:
    """Fill `out` for one prompt and its responses."""
    prompt = slice(span.start, span.end)
    first = slice(span.start, span.responses[0][1])
    out[:, :, first] = scaled_dot_product_attention(
        query[:, :, first], key[:, :, first], value[:, :, first],
        is_causal=True, scale=scale, enable_gqa=True,
    )  # fmt: skip
    for (begin, end), mask in zip(span.responses[1:], span.masks, strict=True):
        response = slice(begin, end)
        keys = torch.cat([key[:, :, prompt], key[:, :, response]], dim=2)
        values = torch.cat([value[:, :, prompt], value[:, :, response]], dim=2)
        out[:, :, response] = scaled_dot_product_attention(
            query[:, :, response], keys, values, attn_mask=mask, scale=scale, enable_gqa=True
        )
