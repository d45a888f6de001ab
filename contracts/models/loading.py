"""Loading a model with transformers, or refusing it: no tensor is made up, left out or cut."""

import tempfile
import warnings
from typing import Any

from contracts.errors import UserError, first_line
from contracts.models.model import local_folder, split_reference
from contracts.models.weights import read_weights, refuse_differences, unlike_config


def load_model(loader: Any, reference: str, what: str = "a model", **options: Any) -> Any:
    """A model of `loader`'s class (or one of transformers' Auto classes) from safetensors.

    Args:
        what: what it is to be, for the message.

    Raises:
        UserError: no such model, no safetensors, another architecture, or other tensors.
    """
    path, revision = split_reference(reference)
    if folder := local_folder(reference):
        read_weights(folder)
    try:
        # What does not fit is told below, by its name.
        model, loading = loader.from_pretrained(
            path, revision=revision, use_safetensors=True, output_loading_info=True,
            ignore_mismatched_sizes=True, **options,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{reference}: cannot be loaded as {what}: {first_line(error)}") from None
    refuse_differences(
        unlike_config(reference),
        missing=loading["missing_keys"],
        extra=loading["unexpected_keys"],
        misshaped=loading["mismatched_keys"],
    )
    return model


def load_adapter(model: Any, adapter: str, base: str) -> Any:
    """The model with a LoRA adapter beside its weights, as peft's own class.

    Raises:
        UserError: it does not fit the base.
    """
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            # peft would go on with matrices of its own making, which add nothing.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(model, adapter)
    except (OSError, ValueError, RuntimeError, TypeError, UserWarning) as error:
        raise UserError(f"{adapter}: does not fit {base}: {first_line(error)}") from None


def refuse_unsavable(reference: str, *parts: Any) -> None:
    """Write the files beside the weights to a temporary folder, to see that they can be written.

    transformers reads some generation_config.json and config.json files that it refuses to
    write: a training would lose its result at the end.

    Args:
        parts: config, generation config, tokenizer.

    Raises:
        UserError: says what is wrong, and in which file.
    """
    with tempfile.TemporaryDirectory(prefix="onpolicy-") as folder:
        for part in parts:
            try:
                part.save_pretrained(folder)
            except (ValueError, TypeError, AssertionError) as error:
                names = {"GenerationConfig": "generation_config.json"}
                file = names.get(type(part).__name__, "config.json")
                reason = " ".join(str(error).split())
                raise UserError(f"{reference}: its {file} could not be saved with the new policy: "
                                f"{reason[:600]}") from None  # fmt: skip
