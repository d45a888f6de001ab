"""The width that a terminal has for a command's text."""

import shutil
import textwrap

WIDE = 10_000
"""Of a pipe or a file, where no line is folded."""


def terminal_width() -> int:
    """Columns of the terminal, or what COLUMNS says; `WIDE` where neither is known."""
    return shutil.get_terminal_size(fallback=(WIDE, 24)).columns


def folded(text: str, width: int, indent: str = "    ") -> list[str]:
    """`text` in lines of at most `width`, the first as it begins, the others set in; a word that is
    longer stays whole, so that a path can be copied."""
    if len(text) <= width:
        return [text]
    first = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text.strip(), width, initial_indent=first, subsequent_indent=first + indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
