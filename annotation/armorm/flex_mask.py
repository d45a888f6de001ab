"""Attention over a whole packed row in one call, as FlexAttention takes it.

For GPUs, where a call for each response would cost more than it computes. Blocks of the row
where nobody sees anybody are skipped. Training packs pairs, with a sliding window, under a mask
of its own (`training.packed.flex`); both are compiled by `runtime.flex_compile`. Shapes: N tokens
in the row, H heads, D their size.
"""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from runtime.flex_compile import compiled_attention, compiled_mask, plain_attention, plain_mask

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

    def seen(_row: Any, _head: Any, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & ((unit[key] == unit[query]) | (unit[key] == prompt[query]))

    size = len(unit)
    make = compiled_mask(dynamic=None) if unit.is_cuda else plain_mask()
    mask: BlockMask = make(seen, None, None, size, size, device=unit.device, BLOCK_SIZE=BLOCK)
    return mask


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, mask: "BlockMask") -> Tensor:
    """Query [1, H, N, D] -> [1, H, N, D]; compiled on a GPU, on a CPU as it is."""
    function = compiled_attention(dynamic=None) if query.is_cuda else plain_attention()
    return function(query, key, value, block_mask=mask, scale=scale, enable_gqa=True)
