"""A folder that a command fills for its user: whole, or as it was."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from contracts.errors import UserError
from contracts.steps.disk_space import naming_what_is_full, refuse_unwritable

_UNFINISHED = ".unfinished"


def refuse_not_new(folder: Path) -> None:
    """Refuse a folder with files in it; what a killed command left unfinished is none.

    Raises:
        UserError: names the folder.
    """
    if folder.is_file() or (
        folder.exists() and any(path.name != _UNFINISHED for path in folder.iterdir())
    ):
        raise UserError(f"{folder}: is not empty; name a new folder")


@contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """Yield a folder to write to; its files appear in `folder` once all of them are whole.

    It lies in `folder` itself, which may be a mounted disk. Where the writing fails, nothing
    stays, so that the same command can be given again.

    Raises:
        UserError: the folder is not empty, or cannot be made or written to.
        OSError: with one of `NO_ROOM`, or another reason why a file cannot be written.
    """
    refuse_not_new(folder)
    was_there = folder.exists()
    refuse_unwritable(folder, "name a folder of your own")
    unfinished = folder / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with naming_what_is_full(folder):
            unfinished.mkdir()
            yield unfinished
            for path in sorted(unfinished.iterdir()):
                path.rename(folder / path.name)
            unfinished.rmdir()
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not was_there:
            with suppress(OSError):
                folder.rmdir()
        raise
