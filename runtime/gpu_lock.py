"""Two runs never compute on the same GPU at once: a lock for each GPU of this machine.

The locks are one user's (another's could not be opened in a shared folder), and know a GPU by its
UUID (`runtime.gpu_busy.gpus_in_sight`). They die with the process that holds them.
"""

import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import filelock

from contracts.errors import UserError

_EVERY_SECONDS = 1.0


def lock_folder() -> Path:
    """Where the locks of this user lie: on Linux the same for all, whatever TMPDIR says in each."""
    shared = "/dev/shm"  # noqa: S108 - `_make_private` looks at what is there
    base = shared if os.access(shared, os.W_OK) else tempfile.gettempdir()
    return Path(base) / f"onpolicy-gpus-{os.getuid()}"


@contextmanager
def hold_gpus(
    gpus: Sequence[str], owner: str, waits: Callable[[str], None], folder: Path | None = None
) -> Iterator[None]:
    """Hold `gpus` within. All of them or none: who waits for one keeps no other from anybody.

    Args:
        owner: who holds them, as others are told.
        waits: told once, by what it has to wait for.

    Raises:
        UserError: the folder of the locks is not this user's.
    """
    folder = folder or lock_folder()
    if gpus:
        _make_private(folder)
    told = False
    with ExitStack() as held:
        while busy := _take(held, folder, gpus):
            if not told:
                waits(f"GPU {busy.removeprefix('GPU-')} is in use by {_holder(folder, busy)}")
                told = True
            time.sleep(_EVERY_SECONDS)
        for name in gpus:
            _holder_file(folder, name).write_text(owner)
            held.callback(_holder_file(folder, name).unlink, missing_ok=True)
        yield


def _make_private(folder: Path) -> None:
    """Anyone may make a folder of that name in the shared one, or a link from it to elsewhere."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = folder.lstat()
    if not stat.S_ISDIR(made.st_mode) or made.st_uid != os.getuid():
        raise UserError(f"{folder}: is not a folder of yours, and the locks of GPUs lie there; "
                        "have it removed")  # fmt: skip


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
