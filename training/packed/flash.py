"""flash-attn over a packed row: a prompt is computed once, and read by both of its responses.

No mask says so, but varlen calls do: queries lie in the row as they are, prompt and chosen as one
sequence and rejected as the next, whose keys are gathered from the prompt and from itself. Where
a sequence has fewer queries than keys, flash-attn aligns the causal mask and the window at their
ends. Registered with transformers as `onpolicy_varlen`. Shape legend as in
training.packed.attention.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float, Int, Int32
from packaging.version import Version
from torch import Tensor

from contracts.errors import UserError
from training.packed.packing import Segment
from training.packed.precision import autocast_to

NAME = "onpolicy_varlen"
# The first with Gemma-2's soft-cap in the backward pass.
_SINCE = "2.6.3"


@dataclass(frozen=True)
class Sequences:
    """Where each sequence's queries and keys lie in a packed row."""

    keys: Int[Tensor, "keys"]
    """Places in the row of all sequences' keys, int64."""
    query_ends: Int32[Tensor, "ends"]
    """0, then where each sequence's queries end in the row."""
    key_ends: Int32[Tensor, "ends"]
    """The same of `keys`."""
    queries: int
    """Queries of all sequences; what lies behind them in the row is padding."""
    longest_query: int
    longest_key: int

    @classmethod
    def of(cls, segments: Sequence[Segment], device: torch.device) -> "Sequences":
        """Two sequences a pair; one where it has no rejected response."""
        queries, keys = [], []
        for segment in segments:
            chosen_end = segment.start + segment.prompt + segment.chosen
            queries.append(segment.prompt + segment.chosen)
            keys.append([*range(segment.start, chosen_end)])
            if segment.rejected:
                queries.append(segment.rejected)
                keys.append([*range(segment.start, segment.start + segment.prompt),
                             *range(chosen_end, chosen_end + segment.rejected)])  # fmt: skip
        lengths = [len(places) for places in keys]
        flat = [place for places in keys for place in places]
        return cls(
            torch.tensor(flat, device=device),
            _ends(queries, device), _ends(lengths, device),
            sum(queries), max(queries), max(lengths),
        )  # fmt: skip


def unavailable() -> str:
    """Why flash-attn cannot be used here; empty where it can."""
    try:
        installed = version("flash-attn")
    except PackageNotFoundError:
        return "flash-attn is not installed"
    # A build's own tag, as in 2.8.3+cu128torch2.9, makes it no older.
    if Version(installed) < Version(_SINCE):
        return f"flash-attn {installed} is older than {_SINCE}"
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
        return "flash-attn needs a GPU from Ampere on"
    return ""


def flash_attention(
    module: torch.nn.Module,
    query: Float[Tensor, "1 query_heads length head_size"],
    key: Float[Tensor, "1 key_heads length head_size"],
    value: Float[Tensor, "1 key_heads length head_size"],
    attention_mask: None,
    scaling: float | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    sequences: Sequences | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "1 length query_heads head_size"], None]:
    """Attention of a packed row, as transformers calls it; `sequences` says who attends to whom.

    Raises:
        UserError: the policy runs in float32, which flash-attn does not know.
    """
    from flash_attn import flash_attn_varlen_func

    if sequences is None:
        raise ValueError("flash attention is for packed rows")
    states = [autocast_to(tensor[0]).transpose(0, 1) for tensor in (query, key, value)]
    if states[0].dtype not in (torch.bfloat16, torch.float16):
        raise UserError("resources.attention: flash needs dtype bfloat16; use flex or segments")
    # [tokens, heads, D]
    queries = states[0][: sequences.queries]
    keys, values = (tensor.index_select(0, sequences.keys) for tensor in states[1:])
    out = flash_attn_varlen_func(
        queries, keys, values, sequences.query_ends, sequences.key_ends,
        sequences.longest_query, sequences.longest_key,
        softmax_scale=scaling, causal=True, softcap=softcap or 0.0,
        window_size=(-1, -1) if sliding_window is None else (sliding_window - 1, 0),
    )  # fmt: skip
    padding = query.shape[2] - sequences.queries
    out = torch.nn.functional.pad(out, (0, 0, 0, 0, 0, padding))
    return out[None], None


def register() -> None:
    """Make `onpolicy_varlen` known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, flash_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _ends(lengths: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([*accumulate(lengths, initial=0)], dtype=torch.int32, device=device)


def _no_mask(*_: Any, **__: Any) -> None:
    return None
