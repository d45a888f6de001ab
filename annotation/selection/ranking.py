"""Which responses of a prompt may take part, and in which order: pure functions over arrays.

Shapes: R responses, P prompts, U usable responses.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from annotation.config import CandidatesConfig
from annotation.strategies.base import Ranking

# Why a prompt gives no pair or no demonstration, in the order in which they are looked for.
REASONS = (
    "no_scores",  # no response has a score
    "all_truncated",  # every response that could be chosen was cut at the token limit
    "one_response",  # nothing to compare it with
    "identical_texts",  # all responses say the same
    "small_deviation",  # the scores lie too close together
    "tie",  # all scores are equal
    "best_truncated",  # only responses that were cut differ from the best whole one, upwards
    "small_margin",
    "length_ratio",
    "length_difference",
    "low_score",  # the best response's
    "near_identical",  # chosen and rejected share too many of their words
)


@dataclass(frozen=True)
class Candidates:
    """The responses of a part."""

    prompt: np.ndarray
    """[R], index of the prompt, 0 to P-1."""
    score: np.ndarray
    """[R], float64, NaN where there is no score."""
    tokens: np.ndarray
    """[R], length in tokens."""
    truncated: np.ndarray
    """[R], whether the answer was cut at the token limit."""
    text: pa.Array
    """[R], looked into only where two texts of a prompt are equally long."""

    def penalised(self, length_penalty: float) -> np.ndarray:
        """[R], the scores with the penalty taken off for each token."""
        return self.score - length_penalty * self.tokens


class Reasons:
    """One reason a prompt, the first that was found."""

    def __init__(self, prompts: int) -> None:
        self._found = np.full(prompts, -1, np.int8)

    def mark(self, reason: str, where: np.ndarray) -> None:
        """`where` is [P], booleans."""
        self._found[where & (self._found < 0)] = REASONS.index(reason)

    def copy(self) -> "Reasons":
        """A copy, to which more reasons can be added."""
        other = Reasons(0)
        other._found = self._found.copy()
        return other

    def none(self) -> np.ndarray:
        """[P], whether no reason was found yet."""
        return self._found < 0

    def counts(self) -> dict[str, int]:
        """Reason to number of prompts."""
        counted = np.bincount(self._found[~self.none()], minlength=len(REASONS))
        return {name: int(n) for name, n in zip(REASONS, counted, strict=True) if n}


def usable(config: CandidatesConfig, candidates: Candidates, reasons: Reasons) -> np.ndarray:
    """[R], which responses have a score and, if cut ones are dropped, are not cut."""
    prompts = len(reasons.none())
    eligible = ~np.isnan(candidates.score)
    reasons.mark("no_scores", per_prompt(candidates, eligible, prompts) == 0)
    if config.truncated == "drop":
        eligible &= ~candidates.truncated
        reasons.mark("all_truncated", per_prompt(candidates, eligible, prompts) == 0)
    return eligible


def per_prompt(candidates: Candidates, eligible: np.ndarray, prompts: int) -> np.ndarray:
    """[P], how many of each prompt's responses are eligible."""
    return np.bincount(candidates.prompt[eligible], minlength=prompts)


def repeated(candidates: Candidates, rows: np.ndarray) -> np.ndarray:
    """Those of `rows` whose text an earlier row of the same prompt has already.

    Only texts as long as another one of their prompt are compared: hashing every text would
    cost more than all the rest.
    """
    lengths = pc.binary_length(candidates.text).to_numpy()[rows].astype(np.int64)
    suspects = rows[_shared(candidates.prompt[rows] * (lengths.max(initial=0) + 1) + lengths)]
    codes = candidates.text.take(pa.array(suspects)).dictionary_encode().indices.to_numpy()
    key = candidates.prompt[suspects].astype(np.int64) * (len(codes) + 1) + codes
    _, first = np.unique(key, return_index=True)
    return np.delete(suspects, first)


def rank(score: np.ndarray, prompt: np.ndarray, eligible: np.ndarray, prompts: int) -> Ranking:
    """Sort the `eligible` [R] responses of each prompt by score."""
    rows = np.flatnonzero(eligible)
    order = rows[np.argsort(-score[rows], kind="stable")]
    order = order[np.argsort(_narrow(prompt[order], prompts), kind="stable")]
    ranked, group = score[order], prompt[order]
    changes = np.flatnonzero((np.diff(ranked) != 0) | (np.diff(group) != 0)) + 1
    ends = np.append(changes, len(order))
    below = ends[np.searchsorted(changes, np.arange(len(order) + 1), side="right")]
    return Ranking(order, ranked, np.searchsorted(group, np.arange(prompts + 1)), below)


def best_whole(config: CandidatesConfig, truncated: np.ndarray, ranking: Ranking) -> np.ndarray:
    """[P], the place of each prompt's best response that may be chosen; its end if none may.

    Args:
        truncated: [U], by place.
    """
    first, end = ranking.bounds[:-1], ranking.bounds[1:]
    if config.truncated != "never_chosen":
        return first
    finished = np.append(np.flatnonzero(~truncated), len(truncated))
    return np.minimum(finished[np.searchsorted(finished, first)], end)


def _shared(keys: np.ndarray) -> np.ndarray:
    """Whether each key occurs more than once."""
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    shared = np.zeros(len(keys), bool)
    shared[order[1:][same]] = True
    shared[order[:-1][same]] = True
    return shared


def _narrow(codes: np.ndarray, count: int) -> np.ndarray:
    """Codes below `count` in 16 bits where they fit: numpy sorts those by radix, 3 times faster."""
    return codes.astype(np.uint16) if count <= 1 << 16 else codes
