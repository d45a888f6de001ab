"""FlexAttention over rows: who may attend to whom, and one kernel that is compiled for it.

Blocks of a row where nobody may are skipped; Gemma-2's soft-cap rides in the score function, the
sliding window in the mask. Registered with transformers as `onpolicy_flex`: its own wrapper goes
on uncompiled once torch has compiled too often, and lays out all L x L scores of a head.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from training.packed.packing import Batch
from training.packed.precision import autocast_to

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

NAME = "onpolicy_flex"
# Rows are padded to whole blocks.
BLOCK = 128


def block_mask(batch: Batch, window: int | None = None) -> "BlockMask":
    """The [R, 1, L, L] mask of `packing.attention_allowed`, never laid out in full on a GPU."""
    branch, group, position = batch.branch, batch.group, batch.position_ids

    def allowed(row: Any, _head: Any, query: Any, key: Any) -> torch.Tensor:
        same = (branch[row, key] == branch[row, query]) | (branch[row, key] == 0)
        seen = (query >= key) & same & (group[row, key] == group[row, query])
        seen = seen & (branch[row, key] >= 0)
        if window is not None:
            seen = seen & (position[row, query] - position[row, key] < window)
        return seen

    rows, length = branch.shape
    make = compiled_mask() if branch.is_cuda else _plain_mask()
    mask: BlockMask = make(
        allowed, rows, None, length, length, device=branch.device, BLOCK_SIZE=BLOCK
    )
    return mask


def flex_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: "BlockMask",
    scaling: float | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """[R, L, Q, D] attention of R rows, as transformers calls it.

    Args:
        query: [R, Q, L, D]; key and value: [R, K, L, D].
        attention_mask: what `block_mask` made.
    """
    states = [autocast_to(tensor) for tensor in (query, key, value)]
    attend = compiled() if query.is_cuda else _plain()
    out = attend(
        *states, score_mod=_capped(softcap), block_mask=attention_mask, scale=scaling,
        enable_gqa=True,
    )  # fmt: skip
    return out.transpose(1, 2), None


@cache
def compiled(backend: str = "inductor") -> Any:
    """FlexAttention as one kernel: compiled for the first length of a row, then for any.

    With `fullgraph` it fails where it cannot be compiled, and says so.
    """
    return torch.compile(_plain(), fullgraph=True, backend=backend)


@cache
def compiled_mask(backend: str = "inductor") -> Any:
    """What makes a block mask, which uncompiled lays out all L x L places; see `compiled`."""
    return torch.compile(_plain_mask(), fullgraph=True, backend=backend)


def register() -> None:
    """Make `onpolicy_flex` known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, flex_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


@cache
def _capped(softcap: float | None) -> Any:
    """The score function of a model: one object, for torch compiles anew for another."""
    if softcap is None:
        return None

    def capped(score: torch.Tensor, *_: Any) -> torch.Tensor:
        return softcap * torch.tanh(score / softcap)

    return capped


def _plain() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention


def _plain_mask() -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    return create_block_mask


def _no_mask(*_: Any, **__: Any) -> None:
    return None
