"""A judge's answers on disk, a file for each part of responses. Each cost money, so they stay once
the part is written: where it is made anew, say with one annotator more, none is asked for again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import pyarrow.compute as pc

from contracts.tables.journal import Journal
from contracts.tables.parts import iter_parts
from runtime.chat_api.completion import Refusal

_PAID = 200


@dataclass(frozen=True)
class Answer:
    """What a judge answered to one question."""

    judge: str
    """The annotator's name, and whose model it asks."""
    key: str
    text: str | None
    """None where it wrote nothing that can be read, which is paid for too."""
    refused: str = ""
    """Why there is no text."""

    @property
    def says(self) -> str | Refusal:
        """As the endpoint gave it."""
        return Refusal(_PAID, self.refused) if self.text is None else self.text


class JudgeAnswers:
    """The answers to one part's questions at a time, by key; from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._known: dict[str, str | Refusal] = {}
        self._journal = answers_of(folder, 0)

    @contextmanager
    def part(self, index: int) -> Iterator[None]:
        """Inside, answers are those of part `index`."""
        self._journal = answers_of(self._folder, index)
        self._known = {answer.key: answer.says for answer in self._journal.records()}
        with self._journal:
            yield

    def get(self, key: str) -> str | Refusal | None:
        """The answer from before, None where there is none."""
        return self._known.get(key)

    def put(self, judge: str, key: str, says: str | Refusal) -> None:
        """Keep what was paid for; it outlives the process from here on."""
        if isinstance(says, Refusal):
            if not says.is_paid:
                return
            answer = Answer(judge, key, None, says.message)
        else:
            answer = Answer(judge, key, says)
        with self._lock:
            self._journal.append([answer])
            self._journal.sync()

    def any_of(self, annotator: str, judge: str) -> bool:
        """Whether there is an answer of this judge, in any part, from any process; of the scores,
        which are of this config alone, by the annotator's name."""
        journals = (_journal(path) for path in self._folder.glob(".answers-*.jsonl"))
        recorded = (answer for journal in journals for answer in journal.records())
        if any(one.judge == judge and one.text is not None for one in recorded):
            return True
        scored_by_it = (pc.field("annotator") == annotator) & pc.field("score").is_valid()
        parts = iter_parts(self._folder, ["annotator", "score"])
        return any(part.filter(scored_by_it).num_rows for part in parts)


def answers_of(folder: Path, index: int) -> Journal[Answer]:
    """The answers to part `index` of a folder of scores."""
    return _journal(folder / f".answers-{index:05d}.jsonl")


def _journal(path: Path) -> Journal[Answer]:
    return Journal(path, lambda fields: Answer(**fields))
