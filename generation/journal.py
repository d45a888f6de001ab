"""Finished samples and failures on disk, one JSON line each, until their part is whole."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from generation.requests import Failure, Outcome, Sample

_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


class Journal:
    """An append-only file of samples. A line torn by a crash is cut off and sampled again."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".journal.jsonl"

    def read(self) -> dict[str, Outcome]:
        """The whole outcomes in the journal, by response id."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        samples = [_parse(line) for line in text.split(b"\n")[:-1]]
        return {sample.response_id: sample for sample in samples if sample}

    def __enter__(self) -> "Journal":
        self._file = self._path.open("a+b")
        self._file.seek(0)
        whole = self._file.read().rfind(b"\n") + 1
        self._file.truncate(whole)
        return self

    def append(self, samples: Iterable[Outcome]) -> None:
        """Add samples; they outlive the process from here on."""
        self._file.write("".join(_ENCODE(vars(sample)) + "\n" for sample in samples).encode())
        self._file.flush()

    def sync(self) -> None:
        """Make what was added outlive the machine as well."""
        os.fsync(self._file.fileno())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def remove(self) -> None:
        """Every sample is in a part now."""
        self._path.unlink(missing_ok=True)


def _parse(line: bytes) -> Outcome | None:
    """A sample, or None for a line that a power cut left half-written or full of zeros."""
    try:
        fields = json.loads(line)
        return Failure(**fields) if "error" in fields else Sample(**fields)
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError):
        return None
