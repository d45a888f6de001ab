"""Choosing pairs: pure functions over arrays, no files.

Every prompt gives a pair (several under `all_above_margin`), or one reason why not.
Shapes: R responses, P prompts, N pairs.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from annotation.config import PairsConfig
from annotation.selection.ranking import (
    REASONS,
    Candidates,
    Ranking,
    Reasons,
    best_whole,
    deviation,
    per_prompt,
    rank,
    repeated,
    usable,
)

_WORDS = 3


@dataclass(frozen=True)
class Selection:
    """The pairs, by prompt, and what became of the other prompts."""

    prompt: np.ndarray
    """[N], index of the prompt."""
    chosen: np.ndarray
    """[N], index of the chosen response."""
    rejected: np.ndarray
    """[N], index of the rejected response."""
    chosen_score: np.ndarray
    """[N], the length penalty taken off."""
    rejected_score: np.ndarray
    """[N], below the chosen one."""
    dropped: dict[str, int]
    """Reason to number of prompts."""


@dataclass(frozen=True)
class _Places:
    """Pairs as places in a ranking."""

    prompt: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray


def select(config: PairsConfig, candidates: Candidates, prompt_ids: pa.Array) -> Selection:
    """Each prompt's pairs, or the reason why there is none.

    A text that a prompt's responses repeat counts once. The rejected response always scores
    strictly below the chosen one.

    Args:
        prompt_ids: [P]; `max_random` draws by them.
    """
    prompts = len(prompt_ids)
    score = candidates.penalised(config)
    reasons = Reasons(prompts)
    kept = _comparable(config, candidates, reasons)
    ranking = rank(score, candidates.prompt, kept, prompts)
    if config.min_deviation:
        reasons.mark("small_deviation", deviation(ranking) < config.min_deviation)
    truncated = candidates.truncated[ranking.order]
    chosen = _chosen(config, truncated, ranking, reasons)
    pairs = _pairs(config, ranking, chosen, truncated, np.flatnonzero(reasons.none()), prompt_ids)
    best, worst = ranking.order[pairs.chosen], ranking.order[pairs.rejected]
    refused = _refused(config, candidates, best, worst, score[best] - score[worst])
    _settle(reasons, pairs.prompt, refused)
    sound = refused < 0
    best, worst = best[sound], worst[sound]
    return Selection(pairs.prompt[sound], best, worst, score[best], score[worst], reasons.counts())


def _comparable(config: PairsConfig, candidates: Candidates, reasons: Reasons) -> np.ndarray:
    """[R], which responses may take part; a text once."""
    prompts = len(reasons.none())
    kept = usable(config, candidates, reasons)
    reasons.mark("one_response", per_prompt(candidates, kept, prompts) == 1)
    kept[repeated(candidates, np.flatnonzero(kept))] = False
    reasons.mark("identical_texts", per_prompt(candidates, kept, prompts) == 1)
    return kept


def _chosen(
    config: PairsConfig, truncated: np.ndarray, ranking: Ranking, reasons: Reasons
) -> np.ndarray:
    """[P], the place of each prompt's chosen response; meaningless where a reason is marked."""
    first, end = ranking.bounds[:-1], ranking.bounds[1:]
    chosen = best_whole(config, truncated, ranking)
    reasons.mark("all_truncated", (chosen == end) & (first < end))
    lowest = ranking.below[chosen] == end
    top = ranking.below[first] == ranking.below[chosen]
    reasons.mark("tie", lowest & top)
    reasons.mark("best_truncated", lowest)
    return chosen


def _pairs(
    config: PairsConfig,
    ranking: Ranking,
    chosen: np.ndarray,
    truncated: np.ndarray,
    prompts: np.ndarray,
    prompt_ids: pa.Array,
) -> _Places:
    """The pairs of the prompts that are left; the rejected one of a lower score."""
    if config.strategy == "all_above_margin":
        barred = truncated & (config.truncated == "never_chosen")
        return _all_lower(ranking, barred, prompts)
    chosen = chosen[prompts]
    first, end = ranking.below[chosen], ranking.bounds[1:][prompts]
    if config.strategy == "max_min":
        return _Places(prompts, chosen, end - 1)
    if config.strategy == "max_second":
        return _Places(prompts, chosen, first)
    draws = _draws(config.seed, prompt_ids.take(pa.array(prompts)))
    return _Places(prompts, chosen, first + (draws * (end - first)).astype(np.int64))


def _all_lower(ranking: Ranking, barred: np.ndarray, prompts: np.ndarray) -> _Places:
    """Every response that is not `barred` [U] with every one of a lower score."""
    sizes = np.diff(ranking.bounds)
    group = np.repeat(np.arange(len(sizes)), sizes)
    places = np.flatnonzero(~barred & np.isin(group, prompts))
    end = ranking.bounds[1:][group[places]]

    def apart(distance: int) -> np.ndarray:
        """[2, .]: the places with another of their prompt so far below."""
        upper = places[places + distance < end]
        lower = upper + distance
        return np.stack([upper, lower])[:, ranking.score[lower] < ranking.score[upper]]

    found = np.concatenate([apart(d) for d in range(1, max(sizes.max(initial=0), 2))], axis=1)
    upper, lower = found[:, np.lexsort((found[1], found[0]))]
    return _Places(group[upper], upper, lower)


def _draws(seed: int, prompt_ids: pa.Array) -> np.ndarray:
    """For each prompt a number in [0, 1) that depends on the seed and its id alone."""
    digests = (
        hashlib.blake2b(f"{seed}:{prompt_id}".encode(), digest_size=4).digest()
        for prompt_id in prompt_ids.to_pylist()
    )
    return np.frombuffer(b"".join(digests), "<u4") / 2.0**32


def _refused(
    config: PairsConfig,
    candidates: Candidates,
    best: np.ndarray,
    worst: np.ndarray,
    margin: np.ndarray,
) -> np.ndarray:
    """[N], index of the first reason against each pair, -1 where there is none."""
    refused = np.full(len(best), -1, np.int8)

    def refuse(reason: str, where: np.ndarray) -> None:
        refused[where & (refused < 0)] = REASONS.index(reason)

    refuse("small_margin", margin < config.min_margin)
    if config.max_length_ratio is not None:
        tokens = candidates.tokens[[best, worst]]
        shorter, longer = tokens.min(axis=0).clip(min=1), tokens.max(axis=0)
        refuse("length_ratio", longer > config.max_length_ratio * shorter)
    if config.max_similarity is not None:
        texts = (candidates.text.take(pa.array(side)).to_pylist() for side in (best, worst))
        alike = [similarity(a, b) for a, b in zip(*texts, strict=True)]
        refuse("near_identical", np.array(alike) > config.max_similarity)
    return refused


def _settle(reasons: Reasons, prompt: np.ndarray, refused: np.ndarray) -> None:
    """A prompt whose pairs are all refused has the reason of the one that came furthest."""
    sound = np.zeros(len(reasons.none()), bool)
    sound[prompt[refused < 0]] = True
    for index in reversed(range(len(REASONS))):
        where = np.zeros(len(sound), bool)
        where[prompt[refused == index]] = True
        reasons.mark(REASONS[index], where & ~sound)


def similarity(one: str, other: str) -> float:
    """Share of the runs of three words that two texts have in common (Jaccard), case aside."""
    first, second = set(_runs(one)), set(_runs(other))
    return len(first & second) / len(first | second)


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = text.casefold().split()
    for start in range(max(1, len(words) - _WORDS + 1)):
        yield tuple(words[start : start + _WORDS])
