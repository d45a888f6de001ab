"""Loading a reward model's weights, or refusing a model whose heads would be random."""

from typing import Any

import torch

from annotation.scorers.heads import refuse_headless
from contracts.models.loading import load_model
from contracts.models.model import local_folder


def load_weights(
    loader: Any, kind: str, reference: str, dtype: torch.dtype, what: str, **options: Any
) -> Any:
    """A reward model from safetensors.

    Args:
        loader: the model's class, or one of transformers' Auto classes.
        kind: its annotator's kind, which says what heads it has.
        what: what it is to be, for the message.

    Raises:
        UserError: no safetensors, another architecture, or other tensors.
    """
    refuse_headless(kind, reference)
    here_before = local_folder(reference)
    model = load_model(loader, reference, what, dtype=dtype, **options)
    if not here_before:  # it has just been downloaded
        refuse_headless(kind, reference)
    return model
