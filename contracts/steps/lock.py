"""A folder has one writer: its lock, and who is told to hold it."""

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from contracts.errors import FolderBusy

log = logging.getLogger(__name__)

# A stage whose parent was killed needs a moment to notice and let go of its folder.
_LOCK_WAIT_SECONDS = 10.0


@contextmanager
def folder_lock(folder: Path, patience: float | None = None) -> Iterator[None]:
    """Hold `folder` as its only writer; the lock dies with the process that holds it.

    Args:
        patience: seconds for which another's lock is waited for; 10 unless given.

    Raises:
        FolderBusy: another live process holds it.
    """
    lock = filelock.FileLock(folder / ".lock", timeout=patience or _LOCK_WAIT_SECONDS)
    holder = folder / ".lock-holder"
    try:
        lock.acquire()
    except filelock.Timeout:
        raise FolderBusy(_busy(folder, lock, _text(holder))) from None
    try:
        # Whoever ends as it should removes its name, so a name without a lock is one that was
        # killed.
        if left_behind := _text(holder):
            log.warning("%s: taking over from %s, which ended too soon", folder, left_behind)
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def holder_of(folder: Path) -> str | None:
    """Who writes to `folder` now, e.g. `process 12 on host`; None where nobody does.

    It holds the lock for a blink where it is free, makes no file, and waits for nothing. Where the
    file system has no flock, the holder's own word counts.
    """
    said = _text(folder / ".lock-holder") or None
    try:
        with (folder / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return said or "another process"
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return said
    return None


def _busy(folder: Path, lock: filelock.BaseFileLock, holder: str) -> str:
    """Who holds the folder, and what to do."""
    soft = isinstance(lock, filelock.SoftFileLock)  # what filelock becomes where flock is missing
    if soft and (marker := _text(folder / ".lock").split()):
        holder = f"process {marker[0]} on {' '.join(marker[1:2])}"
    told = f"{folder}: {holder or 'another process'} is writing here; wait for it or stop it"
    if not soft:
        return f"{told}, then run the same command again"
    return (
        f"{told}. This file system has no flock, so the lock of a process that was killed stays: "
        f"if {holder or 'it'} runs no more, delete {folder / '.lock'} and run the same command "
        "again"
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return ""
