"""Room on the disk for what a stage will write, asked before it begins."""

import shutil
from pathlib import Path

from contracts.errors import UserError

_GIB = 1 << 30


def refuse_too_full(folder: Path, needed: int, what: str, way_out: str) -> None:
    """Refuse to begin what would end on a full disk.

    Args:
        folder: where it is written; it need not exist yet.
        needed: bytes that will lie there at once, beside what does already.
        what: they are, for the message.

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


def bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _shown(size: int) -> str:
    return f"{size / _GIB:,.1f} GiB" if size >= _GIB else f"{size / (1 << 20):,.1f} MiB"
