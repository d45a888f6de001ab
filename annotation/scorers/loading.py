"""Loading a reward model's weights, and telling what they lack."""

from typing import Any

import torch

from contracts.errors import UserError
from contracts.model import split_reference


def load_weights(
    loader: Any, reference: str, dtype: torch.dtype, what: str, **options: Any
) -> tuple[Any, list[str]]:
    """A model from safetensors, and the names of the tensors that its files do not have.

    Args:
        loader: the model's class, or one of transformers' Auto classes.
        what: what it is to be, for the message.

    Raises:
        UserError: no safetensors, or another architecture.
    """
    path, revision = split_reference(reference)
    try:
        model, loading = loader.from_pretrained(
            path,
            revision=revision,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise UserError(f"{reference}: cannot be loaded as {what}: {reason}") from None
    return model, sorted(loading["missing_keys"])
