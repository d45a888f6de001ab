"""Attention over a packed row, pair by pair: no padding, no mask over the row, soft-cap included.

Registered with transformers as the attention implementation `segments`. Shape legend: Q and K =
query and key-value heads, G = Q / K, L = tokens of the row, D = head size, n = keys seen,
c = queries of a chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from training.packed.packing import Segment
from training.packed.precision import autocast_to

NAME = "onpolicy_segments"
# Queries at once: keys behind the last of them are not touched, which skips most of the half of
# the scores that a causal mask throws away.
_CHUNK = 128


@dataclass(frozen=True)
class Shape:
    """How attention scores are made of queries and keys."""

    scaling: float
    softcap: float | None
    window: int | None


class _SegmentAttention(torch.autograd.Function):
    """softmax(softcap(q k' * scaling)) v within each branch; scores are made again in backward."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        segments: tuple[Segment, ...],
        shape: Shape,
    ) -> Tensor:
        # Padding belongs to no branch: it gets zeros, as everywhere that nobody is attended to.
        out = torch.zeros_like(query)
        for branch in _branches(segments):
            keys, values = branch.of(key), branch.of(value)
            for chunk in branch.chunks(shape.window):
                # The query heads that share a key head are stacked: one product a key head, and no
                # key is repeated (Gemma-2-9B has 16 query heads on 8 key heads).
                queries = _grouped(query[:, chunk.rows], len(key))
                weights, _ = _weights(queries, keys[:, chunk.keys], chunk, shape)
                result = torch.bmm(weights, values[:, chunk.keys])
                out[:, chunk.rows] = result.view(len(query), -1, result.shape[-1])
        ctx.save_for_backward(query, key, value)
        ctx.segments, ctx.shape = segments, shape
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        query, key, value = ctx.saved_tensors
        shape = ctx.shape
        grads = [torch.zeros_like(tensor) for tensor in (query, key, value)]
        for branch in _branches(ctx.segments):
            keys, values = branch.of(key), branch.of(value)
            key_grad, value_grad = torch.zeros_like(keys), torch.zeros_like(values)
            for chunk in branch.chunks(shape.window):
                queries = _grouped(query[:, chunk.rows], len(key))
                out_grad = _grouped(gradient[:, chunk.rows], len(key))
                weights, capped = _weights(queries, keys[:, chunk.keys], chunk, shape)
                value_grad[:, chunk.keys].baddbmm_(weights.transpose(1, 2), out_grad)
                slope = torch.bmm(out_grad, values[:, chunk.keys].transpose(1, 2))
                slope = torch.ops.aten._softmax_backward_data(slope, weights, -1, weights.dtype)
                if capped is not None:
                    slope = torch.ops.aten.tanh_backward(slope, capped)
                # The cap and its inverse cancel in d (c * tanh(s / c)) / ds, which tanh_backward
                # made; the scale of the products is left.
                slope.mul_(shape.scaling)
                result = torch.bmm(slope, keys[:, chunk.keys])
                grads[0][:, chunk.rows] = result.view(len(query), -1, result.shape[-1])
                key_grad[:, chunk.keys].baddbmm_(slope.transpose(1, 2), queries)
            branch.add_to(grads[1], key_grad)
            branch.add_to(grads[2], value_grad)
        return (*grads, None, None)


@dataclass(frozen=True)
class _Chunk:
    """`rows` of the row ask; of the branch's own keys they see `keys`, masked at the edges."""

    rows: slice
    keys: slice
    first: int
    window: int | None

    def mask_(self, scores: Tensor) -> None:
        """Hide what lies behind each query in [.., c, n] scores, or too far before it."""
        count, seen = scores.shape[-2:]
        diagonal = self.first - self.keys.start
        hidden = torch.ones(count, seen, dtype=torch.bool, device=scores.device).triu(diagonal + 1)
        if self.window is not None:
            hidden |= torch.ones_like(hidden).tril(diagonal - self.window)
        scores.masked_fill_(hidden, -torch.inf)


@dataclass(frozen=True)
class _Branch:
    """A prompt, and one response behind it; only the queries from `first` on ask."""

    start: int
    prompt: int
    response_start: int
    response: int
    first: int

    def of(self, tensor: Tensor) -> Tensor:
        """[K, prompt + response, D]."""
        head = tensor[:, self.start : self.start + self.prompt]
        tail = tensor[:, self.response_start : self.response_start + self.response]
        # The chosen response lies right behind its prompt: a view, no copy.
        if self.response_start == self.start + self.prompt:
            return tensor[:, self.start : self.response_start + self.response]
        return torch.cat([head, tail], 1)

    def add_to(self, total: Tensor, part: Tensor) -> None:
        """Add what `of` would give of a gradient back to its places."""
        total[:, self.start : self.start + self.prompt] += part[:, : self.prompt]
        end = self.response_start + self.response
        total[:, self.response_start : end] += part[:, self.prompt :]

    def chunks(self, window: int | None) -> Iterator[_Chunk]:
        """Chunks of queries; their places in the branch are also their positions."""
        end = self.prompt + self.response
        # Where a query of the branch lies in the row; the prompt asks only where both touch.
        shift = self.response_start - self.prompt
        for first in range(self.first, end, _CHUNK):
            last = min(first + _CHUNK, end)
            oldest = 0 if window is None else max(0, first - window + 1)
            yield _Chunk(
                slice(first + shift, last + shift),
                slice(oldest, last),
                first,
                window if window is not None and last > window else None,
            )


def _branches(segments: tuple[Segment, ...]) -> Iterator[_Branch]:
    for segment in segments:
        chosen = segment.start + segment.prompt
        # The prompt's own queries are asked once, in the chosen response's branch: from 0 on here,
        # behind the prompt in the rejected one's.
        yield _Branch(segment.start, segment.prompt, chosen, segment.chosen, 0)
        yield _Branch(
            segment.start, segment.prompt, chosen + segment.chosen, segment.rejected, segment.prompt
        )


def _grouped(queries: Tensor, key_heads: int) -> Tensor:
    """[Q, c, D] as [K, G * c, D]."""
    return queries.reshape(key_heads, -1, queries.shape[-1])


def _weights(
    queries: Tensor, keys: Tensor, chunk: _Chunk, shape: Shape
) -> tuple[Tensor, Tensor | None]:
    """[K, G * c, n] attention weights, and the tanh of the capped scores where there is a cap."""
    scale = shape.scaling if shape.softcap is None else shape.scaling / shape.softcap
    scores = torch.bmm(queries * scale, keys.transpose(1, 2))
    capped = None
    if shape.softcap is not None:
        capped = scores.tanh_()
        scores = capped * shape.softcap
    count = chunk.rows.stop - chunk.rows.start
    chunk.mask_(scores.view(len(keys), -1, count, scores.shape[-1]))
    return torch.softmax(scores, -1), capped


def segments_attention(
    module: torch.nn.Module,
    query: Float[Tensor, "1 query_heads length head_size"],
    key: Float[Tensor, "1 key_heads length head_size"],
    value: Float[Tensor, "1 key_heads length head_size"],
    attention_mask: None,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    segments: tuple[Segment, ...] = (),
    **_: Any,
) -> tuple[Float[Tensor, "1 length query_heads head_size"], None]:
    """Attention of a packed row, as transformers calls it; `segments` says who attends to whom."""
    shape = Shape(scaling or query.shape[-1] ** -0.5, softcap, sliding_window)
    states = (autocast_to(tensor[0]) for tensor in (query, key, value))
    out = _SegmentAttention.apply(*states, segments, shape)
    return out.transpose(0, 1)[None], None


def register() -> None:
    """Make `segments` known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, segments_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    return None
