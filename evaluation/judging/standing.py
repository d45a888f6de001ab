"""What a result stands on, and why two results can't stand in one column."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.judging.referees.game import Judged


@dataclass(frozen=True)
class Standing:
    """Of one model's judgements."""

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


PUBLISHED = {
    "alpaca_eval": Standing(
        "alpaca_eval",
        "gpt-4-1106-preview",
        "784227e6dc2832fc08c43d2c8ea3a308e7523780187a1aaad2f85e30bac85f62",
        {"temperature": 1.0, "max_tokens": 1, "logprobs": True, "top_logprobs": 5},
        805,
        805,
    ),
    "arena_hard": Standing(
        "arena_hard",
        "gpt-4-1106-preview",
        "c2fc88e8d631bb881fd4d256de50fcad9ab9de418f5de90b49f90ca85adda968",
        {"temperature": 0.0, "max_tokens": 4096},
        500,
        500,
    ),
    "mt_bench": Standing(
        "mt_bench",
        "gpt-4-1106-preview",
        "8ebbcd89536dde2ce7bcadfa07f5a1a04cfb1206e8067564da73f7959c9e3d2b",
        {"temperature": 0.0, "max_tokens": 2048},
        80,
        80,
    ),
}
"""What the published figures of the recipe's paper (SimPO, section 4) stand on."""


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


def judged_questions(judged: Sequence[Judged]) -> int:
    """Questions whose every first game has a score."""
    games = [one for one in judged if not one.game.repeat]
    failed = {one.game.question_id for one in games if one.verdict.score is None}
    return len({one.game.question_id for one in games} - failed)


def _told(decoding: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(decoding.items()))
