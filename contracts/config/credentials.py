"""No secret is written down: a config's values land in the run's files, reports and cards."""

import re
from collections.abc import Iterator
from typing import Any

from contracts.errors import UserError

# `scheme://user:password@host`, also where a slash is missing; or `host?key=value`.
_SECRET = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:/+)(?:[^/\s]*@|[^\s?]*\?\S*\s*$)", re.IGNORECASE)
# Keys that hold an address and nothing else: there a password with a slash or a blank counts too.
_ADDRESS_KEYS = ("base_url",)
_NOT_IN_ADDRESS = re.compile(r"[@?#\s]")
# Keys that name an environment variable: a key pasted in its place is no such name.
_VARIABLE_KEYS = ("api_key_env",)
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


def refuse_credentials(data: Any, origin: str) -> None:
    """Refuse a user name, a password or a query in any address of a config, and a key itself
    where the variable that holds it is to be named.

    Raises:
        UserError: names the key, never the value.
    """
    for key, value in _texts(data):
        if key.endswith(_VARIABLE_KEYS) and not _VARIABLE.fullmatch(value):
            raise UserError(
                f"{origin}: key {key!r}: is no environment variable's name (capitals, digits and "
                "underscores, e.g. OPENAI_API_KEY; or null for none); the key itself is never part "
                "of a config: `export` it under such a name"
            )
        if not _holds_secret(key, value):
            continue
        raise UserError(
            f"{origin}: key {key!r}: an address may hold no user name, no password and no query, "
            "for it is written into the run's files; give secrets in environment variables "
            "(a judge's `resources.api_key_env` names its own)"
        )


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Each text in a config, by its dotted key."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{key}.{index}")
    elif isinstance(value, str):
        yield key, value


def _holds_secret(key: str, value: str) -> bool:
    is_address = key.rpartition(".")[2] in _ADDRESS_KEYS
    return bool(_SECRET.match(value) or (is_address and _NOT_IN_ADDRESS.search(value)))
