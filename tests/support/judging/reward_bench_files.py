"""Small files of RewardBench 2's schema."""

import json
from pathlib import Path
from typing import Any


def case(
    case_id: str, subset: str, chosen: list[str], rejected: list[str], prompt: str | None = None
) -> dict[str, Any]:
    return {
        "id": case_id,
        "subset": subset,
        "prompt": prompt or f"Question {case_id} of {subset}?",
        "chosen": chosen,
        "rejected": rejected,
        "num_correct": len(chosen),
        "num_incorrect": len(rejected),
        "total_completions": len(chosen) + len(rejected),
        "models": ["made", "here"],
        "additional_metadata": None,
    }


def rows() -> list[dict[str, Any]]:
    """Right answers are the longer ones, but for the second case of Focus."""
    return [
        case("1", "Focus", ["the longest answer"], ["short", "no", "a"]),
        case("2", "Focus", ["brief"], ["a longer answer", "no", "a"]),
        case("3", "Math", ["same length"], ["none length", "no", "a"]),
        case("tied:7", "Ties", ["green grass", "green leaf"], ["blue"]),
        case("ref:7", "Ties", ["it is green"], ["blue", "red"]),
    ]


def write(path: Path, records: list[dict[str, Any]] | None = None) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in records or rows()))
    return path
