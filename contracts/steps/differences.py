"""Where two configs, or two steps, differ."""

import functools
from collections.abc import Iterator
from typing import Any


def differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted key, its value in `old`, its value in `new`, where these differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            dotted = f"{key}.{name}" if key else name
            yield from differences(old.get(name), new.get(name), dotted)
    elif old != new:
        prefix = ("identity.", "config.", "here.")
        yield functools.reduce(str.removeprefix, prefix, key), old, new
