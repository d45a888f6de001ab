"""Attention over a whole packed row in one call, as FlexAttention takes it.

For GPUs, where a call for each response would cost more than it computes. Blocks of the row
where nobody sees anybody are skipped. Training packs pairs, with a sliding window, under a mask
of its own (`training.packed.flex`); both are compiled by `runtime.flex_compile`.
"""

from typing import TYPE_CHECKING, Any, no_type_check

from jaxtyping import Float, Int
from torch import Tensor

from runtime.flex_compile import compiled_attention, compiled_mask, plain_attention, plain_mask

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128
"""Rows are padded to whole blocks, so that few lengths are compiled for."""


def block_mask(unit: Int[Tensor, "length"], prompt: Int[Tensor, "length"]) -> "BlockMask":
    """Each token sees what is behind it in its own unit, and in its prompt.

    Args:
        unit: number of the prompt or the response that a token belongs to.
        prompt: number of the prompt that it follows; a prompt's own is its unit.
    """

    @no_type_check  # torch counts its arguments
    def seen(_row: Any, _head: Any, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & ((unit[key] == unit[query]) | (unit[key] == prompt[query]))

    size = len(unit)
    make = compiled_mask(dynamic=None) if unit.is_cuda else plain_mask()
    mask: BlockMask = make(seen, None, None, size, size, device=unit.device, BLOCK_SIZE=BLOCK)
    return mask


def attend(
    query: Float[Tensor, "1 query_heads length head_size"],
    key: Float[Tensor, "1 key_heads length head_size"],
    value: Float[Tensor, "1 key_heads length head_size"],
    scale: float,
    mask: "BlockMask",
) -> Float[Tensor, "1 query_heads length head_size"]:
    """Attention under the mask; compiled on a GPU, on a CPU as it is."""
    function = compiled_attention(dynamic=None) if query.is_cuda else plain_attention()
    return function(query, key, value, block_mask=mask, scale=scale, enable_gqa=True)
