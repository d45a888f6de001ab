"""How pairs lie in a forward pass: rows of tokens, who may attend to whom. Pure.

Shapes: length = tokens of the longest row, tokens = response tokens in the loss, responses = two
a pair (every chosen one, then every rejected one).
A group is one prompt and the responses beside it that share it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import accumulate
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Beside the branches: a pad is of none, so that no token attends to it.
_PAD = -1
_PROMPT, _CHOSEN, _REJECTED = 0, 1, 2


@dataclass(frozen=True)
class Pair:
    """A TOKENS row: token ids, and the first index of each response inside the loss."""

    pair_id: str
    prompt: Sequence[int]
    chosen: Sequence[int]
    rejected: Sequence[int]
    chosen_start: int = 0
    rejected_start: int = 0

    @property
    def length(self) -> int:
        """Tokens of the pair in one row that holds the prompt once."""
        return len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def tokens_in_loss(self) -> tuple[int, int]:
        """Tokens of the chosen and of the rejected response inside the loss."""
        return (
            len(self.chosen) - self.chosen_start,
            len(self.rejected) - self.rejected_start,
        )


@dataclass(frozen=True)
class Segment:
    """Where a pair lies in a packed row: prompt, then chosen, then rejected."""

    start: int
    prompt: int
    chosen: int
    rejected: int


@dataclass(frozen=True)
class Batch:
    """Rows of tokens, and where the response tokens of the loss are predicted."""

    input_ids: Int[Tensor, "rows length"]
    """Right-padded with 0; int64, as all of them."""
    position_ids: Int[Tensor, "rows length"]
    """Each response goes on at its prompt's end."""
    branch: Int[Tensor, "rows length"]
    """0 prompt, 1 chosen, 2 rejected, -1 padding."""
    group: Int[Tensor, "rows length"]
    """The group's number in its row, -1 padding."""
    predictors: Int[Tensor, "tokens"]
    """Index into the flattened rows of the token that predicts each target."""
    targets: Int[Tensor, "tokens"]
    """Token ids predicted."""
    responses: Int[Tensor, "tokens"]
    """Response of each target, 0 to `size` - 1."""
    shared: Bool[Tensor, "tokens"]
    """Whether the pair's other response has as many tokens in the loss."""
    size: int
    """The number of responses."""
    positions: int
    """One more than the largest position id."""
    segments: tuple[Segment, ...] = ()
    """The pairs of a packed row, in order; empty in the other layouts."""

    def to(self, device: torch.device) -> "Batch":
        """This batch on a device."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        moved: dict[str, Any] = {
            name: value.to(device) if isinstance(value, Tensor) else value for name, value in values
        }
        return Batch(**moved)


Layout = Literal["packed", "shared", "separate"]
# A group in a row: the pair's index, and the sides that it holds.
_Group = tuple[int, tuple[int, ...]]


def make_batch(pairs: Sequence[Pair], layout: Layout, multiple: int = 1) -> Batch:
    """Lay pairs out: `packed` in one row for them all, `shared` one row each, `separate` two.

    A pair's group is prompt + chosen + rejected. The rejected response is blind to the chosen
    one and its positions restart at the prompt's end, so both get the log-probs that they have
    in rows of their own, and the prompt is computed once. A packed row has no padding, but for
    the rows' length being a multiple of `multiple`. A pair without a rejected response (SFT) has
    the chosen one alone.
    """
    rows = _rows(pairs, layout)
    width = max(sum(_group_length(pairs, group) for group in row) for row in rows)
    # FlexAttention works on blocks of 128 tokens; every other attention takes any length.
    width = -(-width // multiple) * multiple
    filled = [_fill_row(pairs, row, number * width) for number, row in enumerate(rows)]
    return Batch(
        input_ids=_padded([row.ids for row in filled], 0, width),
        position_ids=_padded([row.positions for row in filled], 0, width),
        branch=_padded([row.branch for row in filled], _PAD, width),
        group=_padded([row.group for row in filled], _PAD, width),
        predictors=_joined([row.predictors for row in filled]),
        targets=_joined([row.targets for row in filled]),
        responses=_joined([row.responses for row in filled]),
        shared=_joined([row.shared for row in filled]).bool(),
        size=2 * len(pairs),
        positions=1 + max(max(row.positions) for row in filled),
        segments=_segments(pairs) if layout == "packed" else (),
    )


def attention_allowed(
    batch: Batch, window: int | None = None
) -> Bool[Tensor, "rows 1 length length"]:
    """Whether query i may attend to key j.

    Key j is not behind i in the row, is of i's own group, and there of i's own branch or of the
    prompt, and lies fewer than `window` positions back where there is a sliding window.
    """
    length = batch.branch.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=batch.branch.device).tril()
    query, key = batch.branch[:, :, None], batch.branch[:, None, :]
    allowed = causal & ((key == query) | (key == _PROMPT)) & (key != _PAD)
    allowed &= batch.group[:, :, None] == batch.group[:, None, :]
    if window is not None:
        back = batch.position_ids[:, :, None] - batch.position_ids[:, None, :]
        allowed &= back < window
    return allowed[:, None]


def additive(allowed: Bool[Tensor, "*mask"], dtype: torch.dtype) -> Float[Tensor, "*mask"]:
    """The mask that is added to attention scores: 0, or the dtype's lowest value.

    Not minus infinity: a padding query, which may attend to nothing, would become NaN.
    """
    mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)


@dataclass(frozen=True)
class _Row:
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    branch: list[int] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    predictors: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    responses: list[int] = field(default_factory=list)
    shared: list[int] = field(default_factory=list)

    def add(self, ids: list[int], position: int, branch: int, group: int) -> None:
        """Tokens of one branch; the first is at `position`."""
        self.ids.extend(ids)
        self.positions.extend(range(position, position + len(ids)))
        self.branch.extend([branch] * len(ids))
        self.group.extend([group] * len(ids))


def _rows(pairs: Sequence[Pair], layout: Layout) -> list[list[_Group]]:
    tokens = [
        (index, (_CHOSEN, _REJECTED) if len(pair.rejected) else (_CHOSEN,))
        for index, pair in enumerate(pairs)
    ]
    if layout == "packed":
        return [list(tokens)]
    if layout == "shared":
        return [[group] for group in tokens]
    return [[(index, (side,))] for side in (_CHOSEN, _REJECTED) for index, sides in tokens
            if side in sides]  # fmt: skip


def _segments(pairs: Sequence[Pair]) -> tuple[Segment, ...]:
    starts = accumulate((pair.length for pair in pairs), initial=0)
    return tuple(
        Segment(start, len(pair.prompt), len(pair.chosen), len(pair.rejected))
        for start, pair in zip(starts, pairs, strict=False)
    )


def _response(pair: Pair, side: int) -> tuple[Sequence[int], int]:
    if side == _CHOSEN:
        return pair.chosen, pair.chosen_start
    return pair.rejected, pair.rejected_start


def _group_length(pairs: Sequence[Pair], group: _Group) -> int:
    index, sides = group
    return len(pairs[index].prompt) + sum(len(_response(pairs[index], side)[0]) for side in sides)


def _fill_row(pairs: Sequence[Pair], groups: Sequence[_Group], offset: int) -> _Row:
    """A row of groups; `offset` is its place in the flattened batch."""
    row = _Row()
    for number, (index, sides) in enumerate(groups):
        prompt = _plain(pairs[index].prompt)
        fewest = min(pairs[index].tokens_in_loss)
        row.add(prompt, 0, _PROMPT, number)
        last = len(row.ids) - 1
        for side in sides:
            response, start = _response(pairs[index], side)
            ids = _plain(response)
            first = len(row.ids)
            # The first token of a response is predicted at the prompt's end, wherever it lies.
            before = [last, *range(first, first + len(ids) - 1)]
            row.predictors.extend(offset + place for place in before[start:])
            row.targets.extend(ids[start:])
            response_number = index + (len(pairs) if side == _REJECTED else 0)
            row.responses.extend([response_number] * (len(ids) - start))
            row.shared.extend(place < fewest for place in range(len(ids) - start))
            row.add(ids, len(prompt), side, number)
    return row


def _plain(ids: Sequence[int]) -> list[int]:
    """Python integers, also where `ids` is an array."""
    return [int(value) for value in ids]


def _padded(rows: Sequence[Sequence[int]], value: int, width: int) -> Tensor:
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def _joined(rows: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor([value for row in rows for value in row])
