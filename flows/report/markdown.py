"""Text of any source as markdown that says it, and does nothing else."""

import html
import re
from collections.abc import Sequence

_MARKUP = re.compile(r"[\\`*_\[\]!#~|]|(?<=http)(?=s?://)|(?<=www)(?=\.)")


def markdown_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A heading and a table; nothing where there are no rows."""
    if not rows:
        return []
    lines = [_row(header), f"|{' --- |' * len(header)}", *map(_row, rows)]
    return [f"## {as_text(title)}", "\n".join(lines)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(as_text, cells))} |"


def as_text(text: str) -> str:
    """On one line of markdown: no markup, no link, and no end of a table's cell or row.

    Names, categories, sources and models' answers are what anybody may have written.
    """
    return _MARKUP.sub(_escaped, " ".join(html.escape(text, quote=False).split()))


def _escaped(markup: re.Match[str]) -> str:
    return f"\\{markup[0]}"
