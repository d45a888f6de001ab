"""What can be known of a config before anything runs: every check is made, all faults are told."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import OnPolicyError, UserError
from contracts.models.hub import is_hub_id

_CONFIGS = ("config.json", "adapter_config.json")


@dataclass(frozen=True)
class Check:
    """One thing to look at."""

    key: str
    """The config's key that it is about."""
    look: Callable[[], object]
    """Raises `OnPolicyError` where something is amiss."""
    of: str | None = None
    """The model whose files it reads. Where there is none, `refuse_absent` tells that once, and
    this check is not made: it would tell the same again."""


def faults(checks: Iterable[Check]) -> list[str]:
    """One line for each fault of a config: `key: what is wrong, and the way out`."""
    lines, damaged = [], set[str]()
    for check in checks:
        if check.of and not is_model(check.of):
            continue
        try:
            check.look()
        except OnPolicyError as error:
            text = str(error)
            if check.of and text.startswith(str(Path(check.of))):
                if text in damaged:  # all who read a broken config.json would tell the same
                    continue
                damaged.add(text)
            lines.append(text if text.startswith(check.key) else f"{check.key}: {text}")
    return list(dict.fromkeys(lines))


def refuse_absent(model: str) -> None:
    """Refuse a reference that is neither a folder here nor a model on the hub.

    Raises:
        UserError: names it.
    """
    folder = Path(model)
    if folder.is_dir():
        if not any((folder / name).exists() for name in _CONFIGS):
            raise UserError(f"{folder}: holds no config.json, so it is no model's folder")
    elif not is_hub_id(model):
        raise UserError(f"{model}: no such folder, and not a hub id such as owner/name")


def is_model(model: str) -> bool:
    """Whether `refuse_absent` has nothing to say."""
    try:
        refuse_absent(model)
    except UserError:
        return False
    return True
