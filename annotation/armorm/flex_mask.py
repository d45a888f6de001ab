"""Attention over a whole packed row in one call, as FlexAttention takes it.

For GPUs, where a call for each response would cost more than it computes. Blocks of the row
where nobody sees anybody are skipped. Training packs pairs, with a sliding window, under a mask
of its own (`training.packed.flex`): what the two have in common is less than what a shared one
would have to be told. Shapes: N tokens in the row, H heads, D their size.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128
"""Rows are padded to whole blocks, so that few lengths are compiled for."""


def block_mask(unit: Tensor, prompt: Tensor) -> "BlockMask":
    """Each token sees what is behind it in its own unit, and in its prompt.

    Args:
        unit: [N], number of the prompt or the response that a token belongs to.
        prompt: [N], number of the prompt that it follows; a prompt's own is its unit.
    """
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(_row: Any, _head: Any, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & ((unit[key] == unit[query]) | (unit[key] == prompt[query]))

    size = len(unit)
    return create_block_mask(
        seen, None, None, size, size, device=unit.device, BLOCK_SIZE=BLOCK, _compile=unit.is_cuda
    )


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, mask: "BlockMask") -> Tensor:
    """Query [1, H, N, D] -> [1, H, N, D]; compiled on a GPU, on a CPU as it is."""
    function = compiled_attention() if query.is_cuda else _plain()
    return function(query, key, value, block_mask=mask, scale=scale, enable_gqa=True)


@cache
def compiled_attention() -> Any:
    """FlexAttention as one kernel: compiled for the first length of a row, then for any.

    With `fullgraph` it fails where it cannot be compiled, for uncompiled it would lay out all N^2
    scores of a head.
    """
    return torch.compile(_plain(), fullgraph=True)


def _plain() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention
