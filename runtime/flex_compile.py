"""FlexAttention and what makes its masks, compiled: never silently not."""

from functools import cache
from typing import Any

import torch

# Training's need: 35 lengths up to 131,072 tokens, two masks, and gradients for all, some or none
# of q, k and v. Scoring's is 2 a model (its first length, then any), and an ensemble's members and
# dtypes count one by one. Past torch's own limit, 8, uncompiled code would lay out all L x L
# places of a mask.
_COMPILES = 256


@cache
def compiled_attention(dynamic: bool | None, backend: str = "inductor") -> Any:
    """`flex_attention` as one kernel.

    With `fullgraph` it fails where it cannot be compiled, and says so.

    Args:
        dynamic: False compiles for each length; None for the first one, then for any.
    """
    return _compile(plain_attention(), dynamic, backend)


@cache
def compiled_mask(dynamic: bool | None, backend: str = "inductor") -> Any:
    """`create_block_mask` as one kernel: uncompiled, it lays out all L x L places."""
    return _compile(plain_mask(), dynamic, backend)


def plain_attention() -> Any:
    """`flex_attention` as it is."""
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention


def plain_mask() -> Any:
    """`create_block_mask` as it is."""
    from torch.nn.attention.flex_attention import create_block_mask

    return create_block_mask


def _compile(function: Any, dynamic: bool | None, backend: str) -> Any:
    compile_for: Any = torch.compile  # its overloads do not know `recompile_limit`
    return compile_for(
        function, fullgraph=True, dynamic=dynamic, backend=backend, recompile_limit=_COMPILES
    )
