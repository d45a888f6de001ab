"""An index from runs to the texts that hold them, which finds the texts like a new one.

Exact where it can be: a text that is like another one to a Jaccard index of t shares at least t of
the other's runs, so it holds one of any 1 - t of them, and the rarest are looked up. Words that
many texts begin with, a template's, are thus hardly ever looked at. Where only such runs are left,
the work is bounded: see `RunIndex.nearest`.
"""

import math
from array import array

import numpy as np

_HOLDERS = 4096
"""Most holders of a text's rarest runs that are looked at."""
_COMPARED = 64
"""Most texts that are compared run by run: those that share most of the rarest."""
_EPSILON = 1e-9
# Doubled at 0.7 and with two holders inline, 60,000 prompts peak at 824 MB; four times as large at
# 0.5 with four of them, at 1,364 MB, no faster than 15 %.
_LOAD = 0.7
_INLINE = 2
# Fibonacci hashing: the high bits of the product depend on all bits of the run.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_HIGH = np.uint64(32)
_LAST = np.uint64(2**64 - 1)


class _Holders:
    """Who holds each run: an open-addressing table, so that a look-up costs the same at any size.

    Most runs have few holders: these lie in the table, those of a template's runs in lists beside.
    """

    def __init__(self) -> None:
        self._used = 0
        self._clear(1 << 12)

    def _clear(self, capacity: int) -> None:
        self._runs = np.zeros(capacity, np.uint64)
        """[capacity], 0 where nothing is."""
        self._counts = np.zeros(capacity, np.int32)
        self._first = np.zeros((capacity, _INLINE), np.int32)
        """[capacity, _INLINE], each run's first holders."""
        self._rest: dict[int, array[int]] = {}
        """A place's other holders."""

    def add(self, runs: np.ndarray, number: int) -> None:
        """`number` holds each of the runs [runs], which differ."""
        if self._used + len(runs) > _LOAD * len(self._runs):
            self._grow()
        places = self._places(runs, insert=True)
        counts = self._counts[places]
        self._used += int((counts == 0).sum())
        inline = counts < _INLINE
        self._first[places[inline], counts[inline]] = number
        for place in places[~inline].tolist():
            self._rest.setdefault(place, array("i")).append(number)
        self._counts[places] = counts + 1

    def find(self, runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each run's place and how many hold it [runs]."""
        places = self._places(runs, insert=False)
        return places, self._counts[places]

    def at(self, places: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The first `counts` [places] holders of each place, one place after the other."""
        inline = np.arange(_INLINE) < counts[:, None]
        matches = [self._first[places][inline]]
        for at in np.flatnonzero(counts > _INLINE).tolist():
            rest = self._rest[int(places[at])]
            matches.append(np.array(rest[: int(counts[at]) - _INLINE], np.int32))
        return np.concatenate(matches)

    def _places(self, runs: np.ndarray, insert: bool) -> np.ndarray:
        """Where each run lies, or the free place where its search ends, which `insert` takes."""
        mask = len(self._runs) - 1
        places = ((runs * _SPREAD) >> _HIGH).astype(np.int64) & mask
        searching = np.arange(len(runs))
        while len(searching):
            at = places[searching]
            held = self._runs[at]
            if insert and len(free := np.flatnonzero(held == 0)):
                # Two of the runs may want one place: the last one written has it.
                self._runs[at[free]] = runs[searching[free]]
                held = self._runs[at]
            ended = held == runs[searching]
            if not insert:
                ended |= held == 0
            searching = searching[~ended]
            places[searching] = (places[searching] + 1) & mask
        return places

    def _grow(self) -> None:
        taken = np.flatnonzero(self._runs)
        runs, counts, first, rest = self._runs[taken], self._counts, self._first, self._rest
        self._clear(2 * len(self._runs))
        places = self._places(runs, insert=True)
        self._counts[places], self._first[places] = counts[taken], first[taken]
        moved = dict(zip(taken.tolist(), places.tolist(), strict=True))
        self._rest = {moved[place]: numbers for place, numbers in rest.items()}


class RunIndex:
    """Texts as sets of runs, numbered as they come; a run is a 64-bit hash."""

    def __init__(self) -> None:
        self._texts: list[np.ndarray] = []
        self._sizes = np.zeros(1024, np.int32)
        self._holders = _Holders()

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, runs: np.ndarray) -> None:
        """Take in a text: its runs, sorted and different [runs] uint64."""
        number = len(self._texts)
        self._texts.append(runs)
        if number == len(self._sizes):
            self._sizes = np.concatenate([self._sizes, np.zeros_like(self._sizes)])
        self._sizes[number] = len(runs)
        self._holders.add(_not_zero(runs), number)

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
        places, counts = self._holders.find(_not_zero(runs))
        part = len(runs) - math.ceil(threshold * len(runs) - _EPSILON) + 1
        rarest = np.argsort(counts, kind="stable")[:part]
        holder_counts = counts[rarest]
        allowed = np.minimum(
            holder_counts, np.maximum(_HOLDERS - (np.cumsum(holder_counts) - holder_counts), 0)
        )
        return self._holders.at(places[rarest], allowed), int((allowed == holder_counts).sum())


def _not_zero(runs: np.ndarray) -> np.ndarray:
    """0 marks a free place: that run is taken for the last one, as one of 10**19 is."""
    return np.where(runs == 0, _LAST, runs)
