"""Room on the disk for what a stage will write, asked before it begins."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.errors import UserError

_GIB = 1 << 30
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, the quota is used up, or a file has the size that it may have."""
_RUSTS_ERROR = re.compile(r"\(os error (\d+)\)")


def refuse_too_full(folder: Path, needed: int, what: str, way_out: str) -> None:
    """Refuse to start if the disk would fill up before the end.

    Args:
        folder: where it is written; it need not exist yet.
        needed: bytes to be added to what lies there already.
        what: the name of these bytes in the message.

    Raises:
        UserError: names the folder and both sizes.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise UserError(
            f"{folder}: {what} take {_shown(needed)}, and the disk has {_shown(free)} free; "
            f"free some space{way_out}"
        )


@contextmanager
def naming_what_is_full(path: Path) -> Iterator[None]:
    """Name the file or folder that had no room: a failed write names no file, and safetensors
    and tokenizers wrap the system's message in exceptions of their own.

    Raises:
        OSError: with one of `NO_ROOM` as its `errno`, and a file or `path` as its `filename`.
    """
    try:
        yield
    except Exception as error:
        number = _errno(error)
        if number not in NO_ROOM or getattr(error, "filename", None):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _errno(error: Exception) -> int:
    if isinstance(error, OSError):
        return error.errno or 0
    code = _RUSTS_ERROR.search(str(error))
    return int(code[1]) if code else 0


def refuse_unwritable(folder: Path, way_out: str) -> None:
    """Make a folder, if it is not there, or refuse it before anything is started.

    Raises:
        UserError: it cannot be made, or nothing can be written in it.
    """
    try:
        with naming_what_is_full(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"{folder}: cannot be made or written to ({reason}); {way_out}") from None


def bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _shown(size: int) -> str:
    return f"{size / _GIB:,.1f} GiB" if size >= _GIB else f"{size / (1 << 20):,.1f} MiB"
