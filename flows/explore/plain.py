"""A run's texts on a terminal: they come from a model, and a terminal obeys what it is sent."""

import re

from rich.markup import escape

# C0 without tab and newline, DEL, C1: an escape sequence sets the title or the clipboard, or hides
# the rows before it.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """The text as rich prints it as it is: without markup, each control character as `\\x1b`."""
    return escape(_CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text))
