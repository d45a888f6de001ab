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
    questions_sha256: str
    """`texts_sha256` of what was asked."""
    answered: list[str] | None = None
    """How the answers were drawn, e.g. `temperature 0, top_p 1, max_tokens 4096`; null where a
    file of answers does not say."""
    hard_labels: int = 0
    """Judgements by label where the benchmark counts by log-probs."""
    baseline_sha256: str | None = None
    """`texts_sha256` of the answers that it played against; null where there are none."""
    references_sha256: str | None = None
    """`texts_sha256` of the reference answers that the judge saw; null where there are none."""


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
    reasons += [
        says
        for says, mine, theirs in (
            ("other questions", one.questions_sha256, other.questions_sha256),
            ("another baseline: other answers were played against",
             one.baseline_sha256, other.baseline_sha256),
            ("other reference answers", one.references_sha256, other.references_sha256),
        )
        if mine != theirs
    ]  # fmt: skip
    reasons += _answered_otherwise(one, other)
    if one.judged != other.judged:
        reasons.append(f"{one.judged:,} prompts judged, there {other.judged:,}")
    return reasons


def _answered_otherwise(one: Standing, other: Standing) -> list[str]:
    """A limited run may have asked fewer of the decodings that go by category."""
    if one.answered is None or other.answered is None:
        return ["the answers' decoding is not known: a file of answers does not say it"]
    if set(one.answered) <= set(other.answered):
        return []
    mine, theirs = ("; ".join(side.answered or ()) for side in (one, other))
    return [f"answers by another decoding: {mine}, there {theirs}"]


def _told(decoding: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(decoding.items()))
