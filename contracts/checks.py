"""What can be known of a config before anything runs: every check is made, all faults are told."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import OnPolicyError, UserError
from contracts.models.hub import is_hub_id


@dataclass(frozen=True)
class Check:
    """One thing to look at."""

    key: str
    """The config's key that it is about."""
    look: Callable[[], object]
    """Raises `OnPolicyError` where something is amiss."""


def faults(checks: Iterable[Check]) -> list[str]:
    """What is amiss, a line each: `key: what, and the way out`."""
    found = []
    for check in checks:
        try:
            check.look()
        except OnPolicyError as error:
            text = str(error)
            found.append(text if text.startswith(check.key) else f"{check.key}: {text}")
    return list(dict.fromkeys(found))


def refuse_absent(model: str) -> None:
    """Refuse a model that is no folder here and cannot be on the hub.

    Raises:
        UserError: names it.
    """
    if not Path(model).is_dir() and not is_hub_id(model):
        raise UserError(f"{model}: no such folder, and not a hub id such as owner/name")
