"""Two runs never compute on the same GPU at once: a lock for each GPU of this machine.

The locks are one user's (another's could not be opened in a shared folder), and know a GPU by the
name that CUDA_VISIBLE_DEVICES gives it. They die with the process that holds them.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import filelock

_EVERY_SECONDS = 1.0


def lock_folder() -> Path:
    """Where the locks of this user lie."""
    return Path(tempfile.gettempdir()) / f"onpolicy-gpus-{os.getuid()}"


@contextmanager
def hold_gpus(
    gpus: Sequence[str], owner: str, waits: Callable[[str], None], folder: Path | None = None
) -> Iterator[None]:
    """Hold `gpus` within. All of them or none: who waits for one keeps no other from anybody.

    Args:
        owner: who holds them, as others are told.
        waits: told once, by what it has to wait for.
    """
    folder = folder or lock_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    told = False
    with ExitStack() as held:
        while busy := _take(held, folder, gpus):
            if not told:
                waits(f"GPU {busy} is in use by {_holder(folder, busy)}")
                told = True
            time.sleep(_EVERY_SECONDS)
        for name in gpus:
            _holder_file(folder, name).write_text(owner)
            held.callback(_holder_file(folder, name).unlink, missing_ok=True)
        yield


def _take(held: ExitStack, folder: Path, gpus: Sequence[str]) -> str | None:
    """Lock all, or none; the first that is taken."""
    with ExitStack() as taken:
        for name in gpus:
            try:
                taken.enter_context(filelock.FileLock(folder / f"{_file(name)}.lock", timeout=0))
            except filelock.Timeout:
                return name
        held.push(taken.pop_all())
    return None


def _holder(folder: Path, name: str) -> str:
    with suppress(OSError):
        return _holder_file(folder, name).read_text()
    return "another run"


def _holder_file(folder: Path, name: str) -> Path:
    return folder / f"{_file(name)}.holder"


def _file(name: str) -> str:
    return name.replace(os.sep, "-")
