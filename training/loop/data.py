"""Reading what training needs from its tables."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from contracts.errors import UserError
from contracts.tables.parts import iter_parts
from training.packed.packing import Pair

_IDS = ("prompt_ids", "chosen_ids", "rejected_ids")
LOGPS = ("chosen_logp", "rejected_logp", "chosen_shared_logp", "rejected_shared_logp")
_REST = ("prompt_id", "chosen_loss_start", "rejected_loss_start")


def read_pairs(tokens: Path) -> list[Pair]:
    """The pairs of a TOKENS table; ids stay in arrow's memory until a batch needs them."""
    return [pair for part in iter_parts(tokens, [*_IDS, *_REST]) for pair in pairs_of(part)]


def pairs_of(part: pa.Table) -> list[Pair]:
    """The pairs of one part of a TOKENS table."""
    ids = [_arrays(part[name]) for name in _IDS]
    rest = [part[name].to_pylist() for name in _REST]
    # As Python lists the ids of 60,000 pairs of 1,000 tokens would take 2 GB, 36 bytes each; in
    # arrow's memory they take 4.
    return [
        Pair(name, prompt, chosen, rejected, *starts)
        for prompt, chosen, rejected, name, *starts in zip(*ids, *rest, strict=True)
    ]


def read_reference(reference: Path, pairs: list[Pair]) -> Float[Tensor, "pairs 4"]:
    """Summed log-probs under the reference: of chosen, of rejected, and of the tokens of each
    that the other one has as many of.

    Raises:
        UserError: the REFERENCE table is not of these pairs, row by row.
    """
    rows = [row for part in iter_parts(reference) for row in part.to_pylist()]
    if len(rows) != len(pairs):
        raise UserError(f"{reference}: holds {len(rows)} rows, the tokens {len(pairs)}")
    for row, pair in zip(rows, pairs, strict=True):
        of_row = row["prompt_id"], row["chosen_tokens"], row["rejected_tokens"]
        if of_row != (pair.pair_id, *pair.tokens_in_loss):
            raise UserError(
                f"{reference}: row of {row['prompt_id']} is not of pair {pair.pair_id} as the "
                "tokens have it; score these tokens with the reference again"
            )
    return torch.tensor([[row[name] for name in LOGPS] for row in rows])


def _arrays(column: Any) -> list[Any]:
    """Each row's ids as an int32 array that shares the column's memory."""
    return [
        chunk.values.to_numpy()[start:end]
        for chunk in column.chunks
        for start, end in zip(chunk.offsets.tolist(), chunk.offsets.tolist()[1:], strict=False)
    ]
