"""A run's steps by name, and changes of its config."""

from typing import Any

AFTER_PAIRS = ["pairs", "tokens", "policy", "evaluation/responses", "evaluation/scores",
               "evaluation/comparison", "evaluation/verdict"]  # fmt: skip


ROUND_2 = ["responses", "scores", *AFTER_PAIRS]


FASTER: dict[str, Any] = {"training": {"learning_rate": 1e-6}}


WIDER: dict[str, Any] = {"pairs": {"min_margin": 0.1}}


def from_round_1(names: list[str]) -> list[str]:
    return [f"round-1/{name}" for name in names] + [f"round-2/{name}" for name in ROUND_2]
