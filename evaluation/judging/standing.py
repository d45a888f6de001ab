"""What a result stands on, and why two results can't stand in one column."""

from dataclasses import dataclass
from typing import Any

PAPERS_JUDGE = "gpt-4-1106-preview"
"""Who judged the published figures of the recipe's paper (SimPO, section 4)."""


@dataclass(frozen=True)
class Standing:
    """What one model's judgements were made with, so that two results can be told apart."""

    benchmark: str
    judge: str
    """The judge's model."""
    prompt_sha256: str
    """Of the file of its prompts."""
    decoding: dict[str, Any]
    """The judge's."""
    questions: int
    """That the benchmark has."""
    judged: int
    """Of them, those with a judgement that counts."""
    hard_labels: int = 0
    """Judgements by label where the benchmark counts by log-probs."""
    baseline_sha256: str | None = None
    """Of the file of the answers it played against; null where there are none, or not known."""


def not_comparable(one: Standing, other: Standing) -> list[str]:
    """Why the first result must not stand in a column with the second; empty where it may."""
    reasons = [
        f"{what}: {mine}, there {theirs}"
        for what, mine, theirs in (
            ("another benchmark", one.benchmark, other.benchmark),
            ("another judge", one.judge, other.judge),
            ("another prompt", one.prompt_sha256[:12], other.prompt_sha256[:12]),
            ("another decoding of the judge", _told(one.decoding), _told(other.decoding)),
        )
        if mine != theirs
    ]
    if one.hard_labels != other.hard_labels:
        reasons.append(f"hard labels: {one.hard_labels:,} of {one.judged:,} judgements")
    baselines = {one.baseline_sha256, other.baseline_sha256} - {None}
    if len(baselines) > 1:
        reasons.append("another baseline: other answers were played against")
    if one.judged != other.judged:
        reasons.append(f"{one.judged:,} prompts judged, there {other.judged:,}")
    return reasons


def _told(decoding: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(decoding.items()))
