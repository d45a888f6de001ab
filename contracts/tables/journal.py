"""Finished work on disk, one JSON line each, until the part that it belongs to is whole."""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
# A kill loses nothing that was written; a power cut loses at most what ten seconds have made.
_SYNC_SECONDS = 10.0


class Journal(Generic[T]):
    """An append-only file of records. A line torn by a crash is cut off, its work done again."""

    def __init__(
        self,
        path: Path,
        unpack: Callable[[dict[str, Any]], T],
        pack: Callable[[T], Mapping[str, Any]] = vars,
    ) -> None:
        """
        Args:
            unpack: a record from its fields; raises TypeError or KeyError where they do not fit.
            pack: its fields.
        """
        self._path = path
        self._unpack = unpack
        self._pack = pack

    def records(self) -> list[T]:
        """The whole records in the journal, oldest first."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return []
        records = (self._parse(line) for line in text.split(b"\n")[:-1])
        return [record for record in records if record is not None]

    def __enter__(self) -> "Journal[T]":
        self._file = self._path.open("a+b")
        self._file.seek(0)
        # A line that a kill cut off would swallow the next one.
        complete_bytes = self._file.read().rfind(b"\n") + 1
        self._file.truncate(complete_bytes)
        self._synced = time.monotonic()
        return self

    def append(self, records: Iterable[T]) -> None:
        """Add records. From here on they survive the end of this process."""
        self._file.write("".join(_ENCODE(self._pack(one)) + "\n" for one in records).encode())
        self._file.flush()

    def sync(self) -> None:
        """Every ten seconds, flush the records to disk, so that they survive a power cut."""
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self.sync_now()

    def sync_now(self) -> None:
        """Flush the records to disk, so that they survive a power cut; from any thread."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def remove(self) -> None:
        """Delete the journal: every record is in a part now."""
        self._path.unlink(missing_ok=True)

    def _parse(self, line: bytes) -> T | None:
        """A record, or None for a line that a power cut left half-written or full of zeros."""
        try:
            return self._unpack(json.loads(line))
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError):
            return None
