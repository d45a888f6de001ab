"""Judges' replies outlive the stage that paid for them: `--redo` sets them aside in the run's
folder, and the stage that is made anew finds them where it left them.

Each is kept under the hash of its very request, so that a changed config pays for what differs.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from contracts.redo_hint import PAID_FOR
from contracts.tables.parts import sync_folder, write_atomic

_ASIDE = ".paid"


def set_aside(run: Path, path: str) -> None:
    """Move the journals of replies out of a step's folder, which is to be emptied."""
    _move(run / path, run / _ASIDE / path)


def bring_back(run: Path, path: str) -> None:
    """Move what was set aside into the step's folder again, which is about to be made."""
    _move(run / _ASIDE / path, run / path)


def _move(source: Path, target: Path) -> None:
    journals = [path for pattern in PAID_FOR for path in source.glob(pattern)]
    if journals:
        target.mkdir(parents=True, exist_ok=True)
    for journal in journals:
        _add(journal, target / journal.name)
    if journals:
        sync_folder(target)


def _add(journal: Path, target: Path) -> None:
    """Move a journal; where there is one, e.g. of a step that another machine began, its replies
    to what that has none to. Killed anywhere, the same call goes on."""
    if not target.exists():
        try:
            journal.replace(target)
        except OSError:  # another disk
            pass
        else:
            return
    there = dict.fromkeys(key for key, _ in _lines(target))
    lines = [line for _, line in _lines(target)]
    lines += [line for key, line in _lines(journal) if key not in there]
    write_atomic(target, b"".join(lines))
    journal.unlink()


def _lines(journal: Path) -> Iterator[tuple[str, bytes]]:
    """Each whole record's key and line; a kill may have cut the last one."""
    whole = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    for line in whole:
        try:
            yield str(json.loads(line)["key"]), line + b"\n"
        except (ValueError, KeyError, TypeError):
            continue
