"""A run's `config.yaml`: the config that its folder was last run by, as the claim wrote it."""

from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from contracts.config.base import load_config, read_yaml
from contracts.errors import UserError
from flows.pipeline.config import RunConfig
from flows.pipeline.planning.round_rules import merged

NAME = "config.yaml"

T = TypeVar("T")


def recorded(run: Path) -> RunConfig | None:
    """The config that a run's folder was last run by; None where it was never run.

    Raises:
        UserError: the file is damaged; says how to have it written anew.
    """
    path = run / NAME
    return _read(path, lambda: load_config(RunConfig, path)) if path.exists() else None


def recorded_keys(run: Path) -> dict[str, Any]:
    """The run's recorded config as plain values, for pages and cards that show it.

    Raises:
        UserError: the file is missing or damaged; says how to have it written anew.
    """
    path = run / NAME
    changed = path.stat().st_mtime_ns if path.exists() else 0
    return _read(path, lambda: deepcopy(_keys(path, changed)))


def round_keys(folder: Path) -> dict[str, Any]:
    """The recorded config of the round in `folder`, with the rules of `by_round` applied.

    Raises:
        UserError: as `recorded_keys`.
    """
    keys = recorded_keys(folder.parent)
    number = int(folder.name.removeprefix("round-"))
    rules = {int(first): rule for first, rule in keys.get("by_round", {}).items()}
    for first, rule in sorted(rules.items()):
        if first <= number:
            given = {name: value for name, value in rule.items() if value}
            keys = merged(keys, given)
    return keys


@lru_cache(maxsize=1)
def _keys(path: Path, changed: int) -> dict[str, Any]:
    """Read once while nothing changes it: 0.09 s, and each round's card asks for it."""
    return read_yaml(path)


def _read(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except UserError as error:
        raise UserError(
            f"{error}\nThis file is a run's own. Undo what was changed in it; or move it away and "
            "give the same `onpolicy run` again, which writes it anew and keeps every stage that "
            "the config still makes"
        ) from None
