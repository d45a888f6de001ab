"""The weighted mean of several annotators' scores, and how far they disagree."""

from collections.abc import Mapping, Sequence

import numpy as np

from annotation.annotators.ensemble import EnsembleConfig
from annotation.scorers.protocol import Conversation, Score


def combine(
    config: EnsembleConfig,
    conversations: Sequence[Conversation],
    scores_of: Mapping[str, Sequence[Score]],
) -> list[Score]:
    """A score for each response that every member scored, an error for every other one.

    mean = sum(w * z) / sum(w); disagreement = sqrt(sum(w * (z - mean)^2) / sum(w)), with
    z = (score - mean) / std by the member's own figures, or among the prompt's responses.

    Args:
        scores_of: each member's scores, in the order of the conversations' responses.
    """
    members = [scores_of[member.name] for member in config.members]
    raw = np.array([[_number(score) for score in scores] for scores in members])
    if config.scale == "prompt":
        scaled = _by_prompt(raw, [len(c.responses) for c in conversations])
    else:
        figures = np.array([(member.mean, member.std) for member in config.members])
        scaled = (raw - figures[:, :1]) / figures[:, 1:]
    weights = np.array([member.weight for member in config.members])[:, None] / sum(
        member.weight for member in config.members
    )
    mean = (weights * scaled).sum(axis=0)
    spread = np.sqrt((weights * (scaled - mean) ** 2).sum(axis=0).clip(min=0))
    return [
        Score(error=error)
        if error
        else Score(float(mean[i]), disagreement=float(spread[i]), cut=_cut(members, i))
        for i, error in enumerate(_errors(config, members))
    ]


def _cut(members: Sequence[Sequence[Score]], place: int) -> int | None:
    """The most that any member left unread of a response."""
    return max((scores[place].cut or 0 for scores in members), default=0) or None


def _number(score: Score) -> float:
    return float("nan") if score.score is None else score.score


def _by_prompt(raw: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """[members, responses] z-scores within each prompt, 0 where all its scores are equal."""
    scaled = np.empty_like(raw)
    start = 0
    for size in sizes:
        of_prompt = raw[:, start : start + size]
        known = np.isfinite(of_prompt)
        count = known.sum(axis=1, keepdims=True).clip(min=1)
        centred = of_prompt - np.where(known, of_prompt, 0).sum(axis=1, keepdims=True) / count
        variance = (np.where(known, centred, 0) ** 2).sum(axis=1, keepdims=True) / count
        scaled[:, start : start + size] = centred / np.where(variance > 0, np.sqrt(variance), 1)
        start += size
    return scaled


def _errors(config: EnsembleConfig, members: Sequence[Sequence[Score]]) -> list[str | None]:
    """For each response the first member's error, or None."""
    errors: list[str | None] = []
    for scores in zip(*members, strict=True):
        failed = (
            f"member_failed: {member.name}: {score.error}"
            for member, score in zip(config.members, scores, strict=True)
            if score.error is not None
        )
        errors.append(next(failed, None))
    return errors
