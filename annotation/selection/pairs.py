"""Choosing pairs: pure functions over arrays, no files.

Every prompt gives a pair (several under some strategies), or one reason why not.
Shapes: R responses, P prompts, N pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from annotation.config import PairsConfig
from annotation.selection.ranking import (
    REASONS,
    Candidates,
    Reasons,
    best_whole,
    per_prompt,
    rank,
    repeated,
    usable,
)
from annotation.strategies.base import Ranked, Ranking
from contracts.errors import UserError

# Of a run that two responses may share, as for near-duplicate prompts.
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


def select_pairs(config: PairsConfig, candidates: Candidates, prompt_ids: pa.Array) -> Selection:
    """Each prompt's pairs, or the reason why there is none.

    A text that a prompt's responses repeat counts once. The rejected response always scores
    strictly below the chosen one.

    Args:
        config: its length penalty is a number.
        prompt_ids: [P]; what is drawn for a prompt depends on its id.
    """
    reasons = Reasons(len(prompt_ids))
    eligible = comparable(config, candidates, reasons)
    return select_among(config, candidates, prompt_ids, eligible, reasons)


def select_among(
    config: PairsConfig,
    candidates: Candidates,
    prompt_ids: pa.Array,
    eligible: np.ndarray,
    reasons: Reasons,
) -> Selection:
    """`select_pairs` among the `eligible` [R] responses; `reasons` are added to."""
    assert config.length_penalty != "auto"
    score = candidates.penalised(config.length_penalty)
    ranking = rank(score, candidates.prompt, eligible, len(prompt_ids))
    if config.min_deviation:
        _, deviation = ranking.mean_and_deviation()
        reasons.mark("small_deviation", deviation < config.min_deviation)
    truncated = candidates.truncated[ranking.order]
    chosen = _chosen(config, truncated, ranking, reasons)
    left = np.flatnonzero(reasons.none())
    barred = truncated & (config.truncated == "never_chosen")
    ids = prompt_ids.take(pa.array(left))
    pairs = config.strategy.pairs(Ranked(ranking, left, chosen[left], barred, ids, config.seed))
    best, worst = ranking.order[pairs.chosen], ranking.order[pairs.rejected]
    _refuse_upside_down(config, score[best], score[worst])
    refused = _refused(config, candidates, best, worst, score[best] - score[worst])
    _settle(reasons, pairs.prompt, refused)
    sound = refused < 0
    best, worst = best[sound], worst[sound]
    return Selection(pairs.prompt[sound], best, worst, score[best], score[worst], reasons.counts())


def _refuse_upside_down(config: PairsConfig, chosen: np.ndarray, rejected: np.ndarray) -> None:
    """A strategy of a package's own may pick any two.

    Raises:
        UserError: a rejected response scores no lower than the chosen one.
    """
    if (chosen <= rejected).any():
        raise UserError(
            f"pairs.strategy {config.strategy.kind!r} picked a rejected response that scores no "
            "lower than the chosen one; mend its `pairs`"
        )


def comparable(config: PairsConfig, candidates: Candidates, reasons: Reasons) -> np.ndarray:
    """[R], which responses may take part; a text once."""
    prompts = len(reasons.none())
    eligible = usable(config, candidates, reasons)
    reasons.mark("one_response", per_prompt(candidates, eligible, prompts) == 1)
    eligible[repeated(candidates, np.flatnonzero(eligible))] = False
    reasons.mark("identical_texts", per_prompt(candidates, eligible, prompts) == 1)
    return eligible


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
    if config.max_length_difference is not None:
        apart = np.abs(candidates.tokens[best] - candidates.tokens[worst])
        refuse("length_difference", apart > config.max_length_difference)
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
