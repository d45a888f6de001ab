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


def refuse_credentials(data: Any, origin: str) -> None:
    """Refuse a user name, a password or a query in any address of a config.

    Raises:
        UserError: names the key, never the value.
    """
    for key in _addresses_with_secrets(data):
        raise UserError(
            f"{origin}: key {key!r}: an address may hold no user name, no password and no query, "
            "for it is written into the run's files; give secrets in environment variables "
            "(a judge's `resources.api_key_env` names its own)"
        )


def _addresses_with_secrets(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _addresses_with_secrets(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _addresses_with_secrets(item, f"{key}.{index}")
    elif isinstance(value, str) and _holds_secret(key, value):
        yield key


def _holds_secret(key: str, value: str) -> bool:
    is_address = key.rpartition(".")[2] in _ADDRESS_KEYS
    return bool(_SECRET.match(value) or (is_address and _NOT_IN_ADDRESS.search(value)))
