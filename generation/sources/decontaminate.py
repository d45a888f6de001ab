"""Decontamination: prompts that hold a benchmark's question are taken out.

The rule. Texts are words: runs of letters and digits, in lower case. The user's turns count, not
the system's, which many prompts share. A prompt holds a question if the n-grams (runs of 8 words)
that both have make up at least half of the question's own, the rule of Tulu 3 (arXiv 2411.15124,
section 3.2). A question of fewer words than that counts only where it is the whole of one of the
prompt's turns: its words within a longer text prove nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generation.sources.columns import read_column
from generation.sources.ngrams import NGram, asked, ngrams, words
from generation.sources.removal_report import Removed, excerpt

BENCHMARK_COLUMNS = ("instruction", "prompt", "turns")


@dataclass(frozen=True)
class Question:
    """One turn of a benchmark's question."""

    number: int
    """Its place among all of them."""
    benchmark: str
    size: int
    """Number of its n-grams."""


class Benchmarks:
    """The questions of some benchmarks, found by their n-grams."""

    def __init__(self, ngram: int, overlap: float) -> None:
        self._ngram = ngram
        self._overlap = overlap
        self._short: dict[NGram, str] = {}
        self._holders: dict[NGram, set[Question]] = defaultdict(set)
        self._questions = 0

    def read(self, path: str) -> None:
        """Add a file of questions; each turn counts as a question.

        Raises:
            UserError: the file cannot be read, or has no such column.
        """
        # Arena-Hard's and MT-Bench's files have one name; their folders tell them apart.
        name = "/".join(Path(path).parts[-2:])
        for _, value in read_column(path, BENCHMARK_COLUMNS):
            for text in _turns(value):
                self.add(name, text)

    def add(self, benchmark: str, text: str) -> None:
        """Add one question."""
        spoken = words(text)
        runs = set(ngrams(spoken, self._ngram))
        if not runs and spoken:
            self._short.setdefault(tuple(spoken), benchmark)
        question = Question(self._questions, benchmark, len(runs))
        self._questions += 1
        for run in runs:
            self._holders[run].add(question)

    def check(self, row: dict[str, Any]) -> Removed | None:
        """Why a prompt is taken out; None if it holds no benchmark's question."""
        match = self.match(asked(row["messages"]))
        if not match:
            return None
        benchmark, evidence, overlap = match
        about = (excerpt(row["messages"]), "contaminated", row["source"])
        return Removed(row["prompt_id"], *about, benchmark, evidence, overlap)

    def match(self, texts: Sequence[str]) -> tuple[str, str, float] | None:
        """The benchmark, the words shared and their share of the question; None if clean."""
        turns = [words(text) for text in texts]
        for turn in turns:
            if benchmark := self._short.get(tuple(turn)):
                return benchmark, " ".join(turn), 1.0
        shared = dict.fromkeys(run for turn in turns for run in ngrams(turn, self._ngram))
        counts = Counter(question for run in shared for question in self._holders.get(run, ()))
        if not counts:
            return None
        # The question of which most is held: by the number of shared runs, a long one would hide a
        # short one that is there whole.
        question = max(counts, key=lambda one: (counts[one] / one.size, -one.number))
        share = counts[question] / question.size
        if share < self._overlap:
            return None
        first = next(run for run in shared if question in self._holders.get(run, ()))
        return question.benchmark, " ".join(first), share


def _turns(value: Any) -> list[str]:
    """What the user asks in a question: a text, a list of texts, or a message list."""
    turns = value if isinstance(value, list) else [value]
    texts = [_asked(turn) if isinstance(turn, dict) else turn for turn in turns]
    return [text for text in texts if isinstance(text, str)]


def _asked(turn: dict[str, Any]) -> Any:
    # Arena-Hard's turns have no role.
    return turn.get("content") if turn.get("role", "user") == "user" else None
