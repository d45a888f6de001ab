"""The dtype that an operation of our own runs in: autocast knows torch's operations alone."""

import torch
from jaxtyping import Float
from torch import Tensor


def autocast_to(tensor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The tensor in autocast's dtype, or as it is where autocast is off.

    Under autocast products come out in bfloat16 and RoPE in float32, so that queries and keys
    are of another dtype than values; and it has ended before the backward pass.
    """
    kind = tensor.device.type
    if not torch.is_autocast_enabled(kind):
        return tensor
    return tensor.to(torch.get_autocast_dtype(kind))
