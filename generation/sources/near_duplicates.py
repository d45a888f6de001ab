"""Near-duplicates: prompts that share most of their three-word runs.

What the user says is compared. A system message is no part of it: prompts that share a long one
would all be alike.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from contracts.chat import Message
from generation.sources.ngrams import asked, words
from generation.sources.removal_report import Removed, excerpt
from generation.sources.run_index import RunIndex

_RUN = 3
# Odd numbers spread over 64 bits: of 7 million runs two collide with a chance of one in a million.
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93], np.uint64)


class NearDuplicates:
    """Knows the prompts kept so far."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._shingler = Shingler()
        self._index = RunIndex()
        self._kept: list[dict[str, Any]] = []

    def check(self, row: dict[str, Any]) -> Removed | None:
        """Why a prompt is taken out: an earlier one is at least as like it as the threshold.

        A prompt that passes is remembered.
        """
        runs = self._shingler.runs(row["messages"])
        if nearest := self._index.nearest(runs, self._threshold):
            number, overlap = nearest
            return _removed(row, self._kept[number], overlap)
        self._index.add(runs)
        self._kept.append(row)
        return None


class Shingler:
    """Turns prompts into sets of three-word runs, each a 64-bit hash."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def runs(self, messages: Sequence[Message]) -> np.ndarray:
        """The runs of each turn, sorted and different [runs] uint64; a shorter turn is one run."""
        turns = asked(messages)
        spoken = [turn for text in turns if (turn := words(text))]
        # A prompt without a word, such as a formula, is like its own text alone.
        hashes = [self._hash(turn) for turn in spoken or [["\n".join(turns)]]]
        return np.unique(np.concatenate(hashes))

    def _hash(self, turn: Sequence[str]) -> np.ndarray:
        numbers = self._numbers
        ids = [numbers.setdefault(word, len(numbers) + 1) for word in turn]
        padded = np.array(ids + [0] * (_RUN - len(ids)), np.uint64)
        first, second, third = padded[:-2], padded[1:-1], padded[2:]
        return first * _MIX[0] + second * _MIX[1] + third * _MIX[2]


def _removed(row: dict[str, Any], twin: dict[str, Any], overlap: float) -> Removed:
    return Removed(
        prompt_id=row["prompt_id"],
        excerpt=excerpt(row["messages"]),
        reason="near_duplicate",
        source=row["source"],
        match=twin["prompt_id"],
        evidence=excerpt(twin["messages"]),
        overlap=overlap,
    )
