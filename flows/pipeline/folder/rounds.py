"""The folders of a run's rounds. It imports nothing, for pages and commands that answer at once."""

import re
from pathlib import Path

_ROUND = re.compile(r"round-(\d+)")


def round_folders(run: Path) -> list[tuple[int, Path]]:
    """Numbers and folders of the rounds that lie in a run, in their order; a copy that somebody
    has put beside them (`round-1.bak`) is none."""
    found = ((_ROUND.fullmatch(folder.name), folder) for folder in run.glob("round-*"))
    return sorted((int(match[1]), folder) for match, folder in found if match)
