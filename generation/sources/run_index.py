"""An index from runs to the texts that hold them, which finds the texts like a new one.

Exact where it can be: a text that is like another one to a Jaccard index of t shares at least t of
the other's runs, so it holds one of any 1 - t of them, and the rarest are looked up. Words that
many texts begin with, a template's, are thus hardly ever looked at. Where only such runs are left,
the work is bounded: see `RunIndex.nearest`.
"""

import math
from dataclasses import dataclass

import numpy as np

_HOLDERS = 4096
"""Most holders of a text's rarest runs that are looked at."""
_COMPARED = 64
"""Most texts that are compared run by run: those that share most of the rarest."""
_EPSILON = 1e-9


@dataclass(frozen=True)
class _Level:
    """Some texts, one after another: their runs, and who holds each."""

    runs: np.ndarray
    """[runs] uint64, sorted and different."""
    starts: np.ndarray
    """[runs + 1], where each run's holders begin."""
    holders: np.ndarray
    """[holders] int32, each run's in ascending order."""

    def find(self, runs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which of the runs are here, and where each of these has its holders."""
        found = np.searchsorted(self.runs, runs)
        places = np.flatnonzero(self.runs.take(found, mode="clip") == runs)
        found = found[places]
        return places, self.starts[found], self.starts[found + 1]

    def merged(self, later: "_Level") -> "_Level":
        """Both in one."""
        pair = (self, later)
        runs = np.concatenate([np.repeat(one.runs, np.diff(one.starts)) for one in pair])
        order = np.argsort(runs, kind="stable")
        runs = runs[order]
        first = np.flatnonzero(np.concatenate([[True], runs[1:] != runs[:-1]]))
        holders = np.concatenate([one.holders for one in pair])[order]
        return _Level(runs[first], np.append(first, len(runs)), holders)


class RunIndex:
    """Texts as sets of runs, numbered as they come; a run is a 64-bit hash."""

    def __init__(self) -> None:
        self._texts: list[np.ndarray] = []
        self._sizes = np.zeros(1024, np.int32)
        self._levels: list[_Level] = []

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, runs: np.ndarray) -> None:
        """Take in a text: its runs, sorted and different [runs] uint64."""
        number = len(self._texts)
        self._texts.append(runs)
        if number == len(self._sizes):
            self._sizes = np.concatenate([self._sizes, np.zeros_like(self._sizes)])
        self._sizes[number] = len(runs)
        level = _Level(runs, np.arange(len(runs) + 1), np.full(len(runs), number, np.int32))
        # Merged like a binary counter's digits: few levels, and each holder moves log n times.
        while self._levels and len(self._levels[-1].holders) <= 2 * len(level.holders):
            level = self._levels.pop().merged(level)
        self._levels.append(level)

    def nearest(self, runs: np.ndarray, threshold: float) -> tuple[int, float] | None:
        """The number of the text most like these runs, and its Jaccard index; the first of equals.

        None where no text reaches the threshold. A text is missed only where all that it shares
        with these runs' rarest part is held by thousands of others (`_HOLDERS`), or where more
        than `_COMPARED` texts share more of that part.
        """
        numbers = self.candidates(runs, threshold)
        if not len(numbers):
            return None
        sizes = self._sizes[numbers]
        held = np.isin(np.concatenate([self._texts[number] for number in numbers]), runs)
        shared = np.add.reduceat(held, np.cumsum(sizes) - sizes, dtype=np.int64)
        jaccard = shared / (len(runs) + sizes - shared)
        best = int(jaccard.argmax())
        return (int(numbers[best]), float(jaccard[best])) if jaccard[best] >= threshold else None

    def candidates(self, runs: np.ndarray, threshold: float) -> np.ndarray:
        """Numbers of the texts that may reach the threshold, ascending, at most `_COMPARED`."""
        holders, complete = self._rarest_holders(runs, threshold)
        numbers, hits = np.unique(holders, return_counts=True)
        # Runs that were not looked up count as shared: what is left out cannot reach the threshold.
        most = hits + len(runs) - complete
        needed = threshold / (1 + threshold) * (len(runs) + self._sizes[numbers]) - _EPSILON
        possible = most >= needed
        numbers, hits = numbers[possible], hits[possible]
        return np.sort(numbers[np.argsort(-hits, kind="stable")[:_COMPARED]])

    def _rarest_holders(self, runs: np.ndarray, threshold: float) -> tuple[np.ndarray, int]:
        """Who holds each of the rarest runs, and how many of those runs were looked up in full."""
        found = [level.find(runs) for level in self._levels]
        counts = np.zeros(len(runs), np.int64)
        for places, starts, ends in found:
            counts[places] += ends - starts
        part = len(runs) - math.ceil(threshold * len(runs) - _EPSILON) + 1
        rarest = np.argsort(counts, kind="stable")[:part]
        wanted = counts[rarest]
        allowed = np.minimum(wanted, np.maximum(_HOLDERS - (np.cumsum(wanted) - wanted), 0))
        left = np.zeros_like(counts)
        left[rarest] = allowed
        holders = [np.zeros(0, np.int32)]
        for level, (places, starts, ends) in zip(self._levels, found, strict=True):
            taken = np.minimum(ends - starts, left[places])
            left[places] -= taken
            holders.append(level.holders[_ranges(starts, taken)])
        return np.concatenate(holders), int((allowed == wanted).sum())


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """All places start, start + 1, ... of each range, one range after the other.

    >>> _ranges(np.array([5, 9]), np.array([2, 1])).tolist()
    [5, 6, 9]
    """
    total = int(counts.sum())
    return np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(total)
