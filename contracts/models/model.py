"""Which model, and how its tokenizer is loaded. Weights are loaded where they are used."""

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from contracts.config.base import Config
from contracts.errors import UserError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_TOKENIZERS = ("tokenizer.json", "vocab*", "*.model", "*.tiktoken")
"""Where a tokenizer's vocabulary lies; settings alone (tokenizer_config.json) are none."""


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

    def at(self, reference: str) -> Self:
        """The same model at another reference: its commit, or where it lies on this machine."""
        path, revision = split_reference(reference)
        return self.model_copy(update={"path": path, "revision": revision})

    def dated(self, date_of: "Callable[[ModelConfig], datetime.date | None]") -> Self:
        """The same model, told the day unless it names one of its own."""
        return self.model_copy(update={"date": self.date or date_of(self)})


def split_reference(reference: str) -> tuple[str, str | None]:
    """A reference's path or hub id, and its revision."""
    if Path(reference).exists():
        return reference, None
    path, _, revision = reference.partition("@")
    return path, revision or None


def local_folder(reference: str) -> Path | None:
    """The folder that a model lies in on this machine: its own, or the hub's cache of it.

    None if its weights are not all downloaded.
    """
    path, revision = split_reference(reference)
    if Path(path).is_dir():
        return Path(path)
    if index := _cached(path, "model.safetensors.index.json", revision):
        return index.parent if _all_there(index) else None
    single = _cached(path, "model.safetensors", revision)
    return single.parent if single and _cached(path, "config.json", revision) else None


def config_folder(reference: str) -> Path | None:
    """The folder of a model's config.json on this machine, whether its weights are here or not."""
    path, revision = split_reference(reference)
    if Path(path).is_dir():
        return Path(path)
    config = _cached(path, "config.json", revision)
    return config.parent if config else None


def _cached(repository: str, name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(repository, name, revision=revision)
    except HFValidationError:  # neither a folder nor a hub id
        return None
    return Path(path) if isinstance(path, str) else None


def _all_there(index: Path) -> bool:
    names = {"config.json", *json.loads(index.read_text())["weight_map"].values()}
    return all((index.parent / name).is_file() for name in names)


def load_tokenizer(reference: str) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model.

    Raises:
        UserError: there is none, it needs remote code, or the hub cannot be reached.
    """
    from contracts.models.hub import refuse_unreachable

    path, revision = split_reference(reference)
    _refuse_no_tokenizer(path)
    refuse_unreachable("model", reference)
    try:
        tokenizer = _load_tokenizer(path, revision)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{reference}: its tokenizer cannot be loaded: {reason[:300]}") from None
    # Of a config.json alone transformers makes a tokenizer of a few special tokens.
    if len(tokenizer) <= len(tokenizer.added_tokens_decoder):
        raise UserError(f"{reference}: its tokenizer holds special tokens alone")
    return tokenizer


def _load_tokenizer(path: str, revision: str | None) -> "PreTrainedTokenizerBase":
    if _is_plain(Path(path)):
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(path)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)


def _refuse_no_tokenizer(path: str) -> None:
    folder = Path(path)
    if folder.is_dir() and not any(next(folder.glob(name), None) for name in _TOKENIZERS):
        raise UserError(f"{path}: no tokenizer lies there; put the model's tokenizer.json (or "
                        "tokenizer.model) and tokenizer_config.json into that folder")  # fmt: skip
    if path.startswith(("/", ".", "~")) and not folder.exists():
        raise UserError(f"{path}: no such folder")


def load_settings(reference: str, failed: str = "its config cannot be loaded") -> Any:
    """A model's config as transformers reads it; nothing of its weights.

    Args:
        failed: the message's beginning.

    Raises:
        UserError: there is no such model, or transformers refuses its config.
    """
    from transformers import AutoConfig

    path, revision = split_reference(reference)
    try:
        return AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{reference}: {failed}: {first_line(error)}") from None


def read_positions(reference: str) -> int:
    """Most tokens that a model can look at, as its config says.

    Raises:
        UserError: the config cannot be read.
    """
    path, _ = split_reference(reference)
    known = _read(Path(path) / "config.json")
    if known.get("model_type") in _KNOWN and type(known.get("max_position_embeddings")) is int:
        return int(known["max_position_embeddings"])
    model = load_settings(reference)
    return int(model.get_text_config().max_position_embeddings)


def read_end_tokens(reference: str) -> set[int]:
    """The EOS ids of a model's generation settings; empty if there is no such file or no id."""
    path, revision = split_reference(reference)
    if (settings := Path(path) / "generation_config.json").is_file() and (saved := _read(settings)):
        ends = saved.get("eos_token_id")
    elif Path(path).is_dir() and not settings.exists():
        ends = None
    else:
        from transformers import GenerationConfig

        try:
            ends = GenerationConfig.from_pretrained(path, revision=revision).eos_token_id
        except OSError:
            ends = None
    return set(ends if isinstance(ends, list) else [ends]) - {None}


# transformers' Auto classes import torch, 5 s of a stage that only tokenises. These are families
# for which what they would choose is known (tests/unit/contracts/models/test_tokenizer.py).
_KNOWN = frozenset({"gemma", "gemma2", "llama"})
_FAST = frozenset({"TokenizersBackend", "PreTrainedTokenizerFast"})


def _is_plain(folder: Path) -> bool:
    """Whether a model's tokenizer is what its `tokenizer.json` says, and nothing more."""
    settings = _read(folder / "tokenizer_config.json")
    return (
        _read(folder / "config.json").get("model_type") in _KNOWN
        and settings.get("tokenizer_class") in _FAST
        and "auto_map" not in settings
        and (folder / "tokenizer.json").is_file()
    )


def _read(path: Path) -> dict[str, Any]:
    """A JSON file's values; empty if it cannot be read, and transformers says why."""
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
