"""A LoRA adapter as the policy: a folder with an adapter_config.json that names its base."""

import json
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import UserError


@dataclass(frozen=True)
class Policy:
    """What an engine loads, and where its tokenizer lies."""

    model: str
    """Model folder or hub id: the policy itself, or the base of an adapter."""
    tokenizer: str
    adapter: str | None = None
    """Folder of the adapter."""
    rank: int = 0
    """The adapter's rank."""


def resolve(reference: str, base: str | None = None) -> Policy:
    """The policy behind a reference. An adapter must lie in a folder.

    Args:
        base: the adapter's base, in place of the one that its config names.

    Raises:
        UserError: the adapter's config is damaged or names no base.
    """
    path = Path(reference) / "adapter_config.json"
    if not path.is_file():
        return Policy(reference, reference)
    try:
        settings = json.loads(path.read_text())
        named, rank = str(settings["base_model_name_or_path"]), int(settings["r"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: names no base_model_name_or_path and rank r") from None
    revision = settings.get("revision")
    base = base or (f"{named}@{revision}" if revision else named)
    has_tokenizer = (Path(reference) / "tokenizer_config.json").is_file()
    return Policy(base, reference if has_tokenizer else base, reference, rank)
