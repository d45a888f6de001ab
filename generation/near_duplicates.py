"""Near-duplicates: prompts that share most of their three-word runs."""

from collections.abc import Sequence
from typing import Any

from contracts.chat import Message
from generation.removed import Removed, excerpt
from generation.words import asked, ngrams, words

_SHINGLE = 3
_HASHES = 128
# 32 bands of 4: a pair that shares 0.7 of its runs is met with a chance of 0.9998.
_BANDS = 32
_SEED = 42


class NearDuplicates:
    """Knows the prompts kept so far.

    MinHash finds the candidates; their Jaccard index is then counted on the runs themselves,
    so no prompt is taken out by chance.
    """

    def __init__(self, threshold: float) -> None:
        from rensa import RMinHashLSH

        self._threshold = threshold
        self._index = RMinHashLSH(threshold=threshold, num_perm=_HASHES, num_bands=_BANDS)
        self._kept: list[dict[str, Any]] = []

    def check(self, row: dict[str, Any]) -> Removed | None:
        """Why a prompt is taken out: an earlier one is at least as like it as the threshold.

        A prompt that passes is remembered.
        """
        from rensa import RMinHash

        runs = shingles(row["messages"])
        sketch = RMinHash(num_perm=_HASHES, seed=_SEED)
        sketch.update(sorted(runs))
        candidates = [self._kept[place] for place in sorted(self._index.query(sketch))]
        if twin := _nearest(runs, candidates, self._threshold):
            return _removed(row, *twin)
        self._index.insert(len(self._kept), sketch)
        self._kept.append(row)
        return None


def shingles(messages: Sequence[Message]) -> set[str]:
    """The three-word runs of each turn; a shorter turn is one run."""
    turns = [words(text) for text in asked(messages)]
    runs = [run for turn in turns for run in ngrams(turn, _SHINGLE) or [tuple(turn)]]
    # A prompt without a word, such as a formula, is like its own text alone.
    return {" ".join(run) for run in runs if run} or {"\n".join(asked(messages))}


def _nearest(
    runs: set[str], candidates: Sequence[dict[str, Any]], threshold: float
) -> tuple[dict[str, Any], float] | None:
    scored = [(row, _jaccard(runs, shingles(row["messages"]))) for row in candidates]
    return max(
        (found for found in scored if found[1] >= threshold), key=lambda one: one[1], default=None
    )


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


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
