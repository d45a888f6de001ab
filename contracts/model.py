"""Which model, and how its tokenizer is loaded. Weights are loaded where they are used."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from contracts.config import Config
from contracts.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ModelConfig(Config):
    """A model on the hub or in a folder. Safetensors only; remote code is never run."""

    path: str
    """Hub id (owner/name) or folder."""
    revision: str | None = None
    """Hub revision; pin a commit for runs that must be repeatable."""
    bos: Literal["template", "prepend"] = "template"
    """Who gives the BOS token: the chat template, or us where the template has none."""

    @property
    def reference(self) -> str:
        """The model as a stage's input: a path, or owner/name@revision."""
        return f"{self.path}@{self.revision}" if self.revision else self.path


def split_reference(reference: str) -> tuple[str, str | None]:
    """A reference's path or hub id, and its revision."""
    if Path(reference).exists():
        return reference, None
    path, _, revision = reference.partition("@")
    return path, revision or None


def load_tokenizer(reference: str) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model.

    Raises:
        UserError: there is none, or it needs remote code.
    """
    from transformers import AutoTokenizer

    path, revision = split_reference(reference)
    try:
        return AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise UserError(f"{reference}: its tokenizer cannot be loaded: {reason}") from None
