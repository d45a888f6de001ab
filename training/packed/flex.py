"""Who may attend to whom, as FlexAttention takes it: blocks of a row where nobody may are skipped.

transformers' `flex_attention` carries Gemma-2's soft-cap in its score function; the sliding
window rides in this mask.
"""

from typing import TYPE_CHECKING, Any

import torch

from training.packed.packing import Batch

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

NAME = "flex_attention"
# Rows are padded to whole blocks, so that few lengths are compiled for.
BLOCK = 128


def block_mask(batch: Batch, window: int | None = None) -> "BlockMask":
    """The [R, 1, L, L] mask of `packing.attention_allowed`, never laid out in full on a GPU."""
    from torch.nn.attention.flex_attention import create_block_mask

    branch, group, position = batch.branch, batch.group, batch.position_ids

    def allowed(row: Any, _head: Any, query: Any, key: Any) -> torch.Tensor:
        same = (branch[row, key] == branch[row, query]) | (branch[row, key] == 0)
        seen = (query >= key) & same & (group[row, key] == group[row, query])
        seen = seen & (branch[row, key] >= 0)
        if window is not None:
            seen = seen & (position[row, query] - position[row, key] < window)
        return seen

    rows, length = branch.shape
    return create_block_mask(
        allowed, rows, None, length, length, device=branch.device, BLOCK_SIZE=BLOCK,
        _compile=branch.is_cuda,
    )  # fmt: skip
