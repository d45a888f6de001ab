"""No secret is written down: a config's values land in the run's files, reports and cards."""

import re
from collections.abc import Iterator
from typing import Any

from contracts.errors import UserError

# `scheme://user:password@host`, also where a slash is missing; or `host?key=value`.
_SECRET = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:/+)(?:[^/\s]*@|[^\s?]*\?\S*\s*$)", re.IGNORECASE)


def refuse_credentials(data: Any, origin: str) -> None:
    """Refuse a user name, a password or a query in any address of a config.

    Raises:
        UserError: names the key, never the value.
    """
    for key in _addresses_with_secrets(data):
        raise UserError(
            f"{origin}: key {key!r}: an address may hold no user name, no password and no query, "
            "for it is written into the run's files; give secrets in environment variables "
            "(a judge's `api_key_env` names its own)"
        )


def _addresses_with_secrets(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _addresses_with_secrets(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _addresses_with_secrets(item, f"{key}.{index}")
    elif isinstance(value, str) and _SECRET.match(value):
        yield key
