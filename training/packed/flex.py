"""FlexAttention over rows: who may attend to whom, and one kernel that is compiled for it.

Blocks of a row where nobody may are skipped; Gemma-2's soft-cap rides in the score function, the
sliding window in the mask. Registered with transformers as `onpolicy_flex`: its own wrapper goes
on uncompiled once torch has compiled too often, and lays out all L x L scores of a head.

All rows of a batch are one sequence to the kernel, padded to one of few lengths: it is compiled
once for each. The padding lives in here alone, in blocks that are skipped: no other layer sees it.
Shape legend: R = rows, L = tokens of a row, N = tokens of the padded sequence.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, no_type_check

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from runtime.flex_compile import compiled_attention, compiled_mask, plain_attention, plain_mask
from training.packed.packing import Batch
from training.packed.precision import autocast_to

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

NAME = "onpolicy_flex"
# Rows are padded to whole blocks.
BLOCK = 128


def padded_length(tokens: int) -> int:
    """N, the least of four lengths in each doubling that holds the tokens; at least two blocks,
    since torch compiles anew for one.

    What it adds is less than a block, or less than a quarter of the tokens.
    """
    step = max(BLOCK, 1 << max(0, (tokens - 1).bit_length() - 3))
    return max(2 * BLOCK, -(-tokens // step) * step)


@torch.no_grad()
def block_mask(batch: Batch, window: int | None = None) -> "BlockMask":
    """`packing.attention_allowed` of each row, as one [1, 1, N, N] mask over them all in order,
    which is never laid out in full on a GPU."""
    rows, width = batch.branch.shape
    row = torch.arange(rows, device=batch.branch.device)[:, None]
    length = padded_length(rows * width)
    branch, group, position = (
        pad(tensor.flatten(), (0, length - rows * width), value=-1)
        for tensor in (batch.branch, batch.group + row * width, batch.position_ids)
    )

    @no_type_check  # torch counts its arguments
    def allowed(_row: Any, _head: Any, query: Any, key: Any) -> Tensor:
        same = (branch[key] == branch[query]) | (branch[key] == 0)
        seen = (query >= key) & same & (group[key] == group[query]) & (branch[key] >= 0)
        if window is not None:
            seen = seen & (position[query] - position[key] < window)
        return seen

    make = compiled_mask(dynamic=False) if branch.is_cuda else plain_mask()
    mask: BlockMask = make(allowed, 1, None, length, length, device=branch.device, BLOCK_SIZE=BLOCK)
    return mask


def flex_attention(
    module: torch.nn.Module,
    query: Float[Tensor, "rows query_heads length head_size"],
    key: Float[Tensor, "rows key_heads length head_size"],
    value: Float[Tensor, "rows key_heads length head_size"],
    attention_mask: "BlockMask",
    scaling: float | None = None,
    softcap: float | None = None,
    kernel_options: dict[str, Any] | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "rows length query_heads head_size"], None]:
    """Attention of rows under the mask that `block_mask` made, as transformers calls it.

    Args:
        kernel_options: sizes of the kernel's blocks (torch's `FlexKernelOptions`) in place of the
            ones that torch chooses for the GPU and the head's size.
    """
    length = attention_mask.shape[-1]
    states = [_as_one(autocast_to(tensor), length) for tensor in (query, key, value)]
    attend = compiled_attention(dynamic=False) if query.is_cuda else plain_attention()
    out = attend(
        *states, score_mod=_capped(softcap), block_mask=attention_mask, scale=scaling,
        enable_gqa=True, kernel_options=kernel_options,
    )  # fmt: skip
    rows, _heads, width, _size = query.shape
    return out.transpose(1, 2)[0, : rows * width].unflatten(0, (rows, width)), None


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

    @no_type_check
    def capped(score: Tensor, *_: Any) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return capped


def _as_one(states: Tensor, length: int) -> Tensor:
    """[R, heads, L, D] as [1, heads, N, D], always laid out alike: torch compiles for strides."""
    joined = states.transpose(0, 1).flatten(1, 2)
    return pad(joined, (0, 0, 0, length - joined.shape[1]))[None].contiguous()


def _no_mask(*_: Any, **__: Any) -> None:
    return None
