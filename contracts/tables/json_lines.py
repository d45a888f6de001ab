"""Rows as JSON lines, the text that official tools and datasets exchange."""

import json
from collections.abc import Mapping
from typing import Any


def json_line(row: Mapping[str, Any]) -> str:
    """A row and its newline; letters beyond ASCII stay as they are, for people to read."""
    return json.dumps(row, ensure_ascii=False) + "\n"
