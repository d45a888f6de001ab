"""Finished samples on disk until their part is whole: one journal for each part that is open.

Failures are in none: a run that goes on tries them again.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from contracts.tables.journal import Journal
from contracts.tables.parts import part_path
from generation.engines.requests import Sample
from generation.sampling.tables import read_samples


class Journals:
    """The journals of a folder of responses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[int, tuple[Journal[Sample], ExitStack]] = {}

    def __enter__(self) -> "Journals":
        return self

    def open(self, index: int) -> dict[str, Sample]:
        """Resume a part; its samples in the journal, by response id."""
        path = part_path(self._folder, index)
        known = read_samples(path) if path.exists() else []
        journal, stack = self._of(index), ExitStack()
        stack.enter_context(journal)
        self._open[index] = (journal, stack)
        return {sample.response_id: sample for sample in [*known, *journal.records()]}

    def is_open(self, index: int) -> bool:
        """Whether a part was opened and is not written yet."""
        return index in self._open

    def append(self, index: int, samples: Sequence[Sample]) -> None:
        """Add samples of an open part. From here on they survive the end of this process."""
        self._open[index][0].append(samples)

    def sync(self) -> None:
        """Every ten seconds, flush the samples to disk, so that they survive a power cut."""
        for journal, _ in self._open.values():
            journal.sync()

    def remove(self, index: int) -> None:
        """Delete the journal of a part that is written."""
        journal, stack = self._open.pop(index)
        stack.close()
        journal.remove()

    def clear(self) -> None:
        """Delete all journals: every part is written, but a kill may have left a journal behind."""
        for path in self._folder.glob(".journal-*.jsonl"):
            path.unlink()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for _, stack in self._open.values():
            stack.close()
        self._open.clear()

    def _of(self, index: int) -> Journal[Sample]:
        path = self._folder / f".journal-{index:05d}.jsonl"
        return Journal(path, lambda fields: Sample(**fields))
