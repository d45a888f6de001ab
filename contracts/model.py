"""Which model, and how its tokenizer is loaded. Weights are loaded where they are used."""

import datetime
import json
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
    date: datetime.date | None = None
    """The day that its chat template is told where it reads the clock; a run puts its own `date`
    here when it is claimed."""

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


def local_folder(reference: str) -> Path | None:
    """The folder that a model lies in on this machine: its own, or the hub's cache of it.

    None where not all of its weights were ever downloaded.
    """
    path, revision = split_reference(reference)
    if Path(path).is_dir():
        return Path(path)
    if index := _cached(path, "model.safetensors.index.json", revision):
        return index.parent if _all_there(index) else None
    single = _cached(path, "model.safetensors", revision)
    return single.parent if single and _cached(path, "config.json", revision) else None


def _cached(repository: str, name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, name, revision=revision)
    except HFValidationError:  # neither a folder nor a hub id
        return None
    return Path(found) if isinstance(found, str) else None


def _all_there(index: Path) -> bool:
    names = {"config.json", *json.loads(index.read_text())["weight_map"].values()}
    return all((index.parent / name).is_file() for name in names)


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
