"""How pairs lie in a forward pass: rows of tokens, who may attend to whom. Pure.

Shape legend: R = rows, L = tokens of the longest row, T = response tokens in the loss,
S = responses (2n for n pairs: every chosen one, then every rejected one).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch

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
class Batch:
    """Rows of tokens, and where the response tokens of the loss are predicted."""

    input_ids: torch.Tensor
    """[R, L] int64, right-padded with 0."""
    position_ids: torch.Tensor
    """[R, L] int64; each response goes on at its prompt's end."""
    branch: torch.Tensor
    """[R, L] int64: 0 prompt, 1 chosen, 2 rejected, -1 padding."""
    predictors: torch.Tensor
    """[T] int64 index into the flattened [R * L] of the token that predicts each target."""
    targets: torch.Tensor
    """[T] int64 token ids predicted."""
    responses: torch.Tensor
    """[T] int64 response of each target, 0 to S - 1."""
    size: int
    """S, the number of responses."""
    positions: int
    """One more than the largest position id."""

    def to(self, device: torch.device) -> "Batch":
        """This batch on a device."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        moved: dict[str, Any] = {
            name: value.to(device) if isinstance(value, torch.Tensor) else value
            for name, value in values
        }
        return Batch(**moved)


Layout = Literal["shared", "separate"]


def make_batch(pairs: Sequence[Pair], layout: Layout) -> Batch:
    """Lay pairs out: `shared` as one row each, `separate` as two.

    A shared row is prompt + chosen + rejected. The rejected response is blind to the chosen one
    and its positions restart at the prompt's end, so both get the log-probs that they have in
    rows of their own, and the prompt is computed once.
    """
    if layout == "shared":
        rows = [[(_CHOSEN, index), (_REJECTED, index)] for index in range(len(pairs))]
    else:
        rows = [[(side, index)] for side in (_CHOSEN, _REJECTED) for index in range(len(pairs))]
    width = max(_row_length(pairs, row) for row in rows)
    filled = [_fill_row(pairs, row, number * width) for number, row in enumerate(rows)]
    return Batch(
        input_ids=_padded([row.ids for row in filled], 0),
        position_ids=_padded([row.positions for row in filled], 0),
        branch=_padded([row.branch for row in filled], _PAD),
        predictors=_joined([row.predictors for row in filled]),
        targets=_joined([row.targets for row in filled]),
        responses=_joined([row.responses for row in filled]),
        size=2 * len(pairs),
        positions=1 + max(max(row.positions) for row in filled),
    )


def attention_allowed(batch: Batch, window: int | None = None) -> torch.Tensor:
    """[R, 1, L, L] bool: whether query i may attend to key j.

    Key j is not behind i in the row, is of i's own branch or of the prompt, and lies fewer than
    `window` positions back where there is a sliding window.
    """
    length = batch.branch.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=batch.branch.device).tril()
    query, key = batch.branch[:, :, None], batch.branch[:, None, :]
    allowed = causal & ((key == query) | (key == _PROMPT)) & (key != _PAD)
    if window is not None:
        back = batch.position_ids[:, :, None] - batch.position_ids[:, None, :]
        allowed &= back < window
    return allowed[:, None]


def additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The mask that is added to attention scores: 0, or the dtype's lowest value.

    Not minus infinity: a padding query, which may attend to nothing, would become NaN.
    """
    mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)


@dataclass(frozen=True)
class _Row:
    ids: list[int]
    positions: list[int]
    branch: list[int]
    predictors: list[int]
    targets: list[int]
    responses: list[int]


def _response(pair: Pair, side: int) -> tuple[Sequence[int], int]:
    if side == _CHOSEN:
        return pair.chosen, pair.chosen_start
    return pair.rejected, pair.rejected_start


def _row_length(pairs: Sequence[Pair], row: Sequence[tuple[int, int]]) -> int:
    prompt = len(pairs[row[0][1]].prompt)
    return prompt + sum(len(_response(pairs[index], side)[0]) for side, index in row)


def _fill_row(pairs: Sequence[Pair], members: Sequence[tuple[int, int]], offset: int) -> _Row:
    """A row of one prompt and the responses to it that `members` names; `offset` is its place
    in the flattened batch."""
    prompt = pairs[members[0][1]].prompt
    head = len(prompt)
    row = _Row(_plain(prompt), list(range(head)), [_PROMPT] * head, [], [], [])
    for side, index in members:
        response, start = _response(pairs[index], side)
        ids = _plain(response)
        first = len(row.ids)
        # The first token of a response is predicted at the prompt's end, wherever it lies.
        before = [head - 1, *range(first, first + len(ids) - 1)]
        row.predictors.extend(offset + place for place in before[start:])
        row.targets.extend(ids[start:])
        number = index + (len(pairs) if side == _REJECTED else 0)
        row.responses.extend([number] * (len(ids) - start))
        row.ids.extend(ids)
        row.positions.extend(range(head, head + len(ids)))
        row.branch.extend([side] * len(ids))
    return row


def _plain(ids: Sequence[int]) -> list[int]:
    """Python integers, also where `ids` is an array."""
    return [int(value) for value in ids]


def _padded(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def _joined(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    return torch.tensor([value for row in rows for value in row])
