"""Prompts computed once for all their responses, without padding.

A batch is one row: prompt, response, response, ..., next prompt, ... The linear layers see
one long row; attention runs per response over its prompt and itself, so its cost is that of
separate conversations and no score depends on which others share the batch. Positions
restart at the prompt's end. A dense block mask over the row would be quadratic in all of it.
Shapes: N tokens in the row, H heads, D their size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from annotation.batches import Group

ATTENTION = "onpolicy_shared_prompt"


@dataclass(frozen=True)
class Segment:
    """A prompt at [start, end) and its responses' ranges, the first right behind it."""

    start: int
    end: int
    gate_at: int
    """Where its gate is read."""
    responses: list[tuple[int, int]]
    masks: list[Tensor]
    """For each response but the first: [its length, prompt's + its length], True is seen."""


@dataclass(frozen=True)
class Packed:
    """Groups laid out in one row, and where to read the result."""

    input_ids: Tensor
    """[N]."""
    positions: Tensor
    """[N]."""
    segments: list[Segment]
    last: Tensor
    """[responses], index of each response's last token."""
    gate_at: Tensor
    """[groups], index where each prompt's gate is read."""
    prompt_of: Tensor
    """[responses], each response's group."""


def pack(groups: Sequence[Group], device: torch.device) -> Packed:
    """Lay out groups, responses in their order."""
    ids: list[int] = []
    positions: list[int] = []
    segments, last, gate_at, prompt_of = [], [], [], []
    for index, group in enumerate(groups):
        start, size = len(ids), len(group.prompt)
        gate_at.append(start + group.gate_at)
        ids += group.prompt
        positions += range(size)
        ranges = []
        for response in group.responses:
            ranges.append((len(ids), len(ids) + len(response)))
            ids += response
            positions += range(size, size + len(response))
            last.append(len(ids) - 1)
            prompt_of.append(index)
        masks = [_mask(size, end - begin, device) for begin, end in ranges[1:]]
        segments.append(Segment(start, start + size, gate_at[-1], ranges, masks))

    def tensor(values: list[int]) -> Tensor:
        return torch.tensor(values, device=device)

    return Packed(
        tensor(ids), tensor(positions), segments, tensor(last), tensor(gate_at), tensor(prompt_of)
    )


def register() -> None:
    """Make the attention known to transformers under its name."""
    AttentionInterface.register(ATTENTION, _attention)


def _mask(prompt: int, response: int, device: torch.device) -> Tensor:
    seen = torch.ones(response, prompt + response, dtype=torch.bool, device=device)
    return seen.tril(prompt)


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    segments: Sequence[Segment] | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Query [1, H, N, D] -> [1, N, H, D]; without segments, causal attention of padded rows."""
    if segments is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
    out = torch.empty_like(query)
    for segment in segments:
        _attend(segment, query, key, value, scaling, out)
    return out.transpose(1, 2), None


def _attend(
    segment: Segment, query: Tensor, key: Tensor, value: Tensor, scale: float | None, out: Tensor
) -> None:
    """Fill `out` for one prompt and its responses."""
    prompt = slice(segment.start, segment.end)
    first = slice(segment.start, segment.responses[0][1])
    out[:, :, first] = scaled_dot_product_attention(
        query[:, :, first], key[:, :, first], value[:, :, first],
        is_causal=True, scale=scale, enable_gqa=True,
    )  # fmt: skip
    for (begin, end), mask in zip(segment.responses[1:], segment.masks, strict=True):
        own = slice(begin, end)
        keys = torch.cat([key[:, :, prompt], key[:, :, own]], dim=2)
        values = torch.cat([value[:, :, prompt], value[:, :, own]], dim=2)
        out[:, :, own] = scaled_dot_product_attention(
            query[:, :, own], keys, values, attn_mask=mask, scale=scale, enable_gqa=True
        )
