"""Files in AlpacaEval's formats, made by formula: judgements of 40 questions, difficulties, gamed
baselines. What alpaca-eval 0.6.6 makes of them is recorded in the tests."""

import csv
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PROMPTS = 40


def instruction(number: int) -> str:
    return f"Question {number}:\nwhat comes after {number}, and why?"


def annotations(prompts: int = PROMPTS) -> list[dict[str, Any]]:
    return [
        {
            "instruction": instruction(number),
            "output_1": "b" * (200 + 37 * number % 211),
            "generator_1": "baseline",
            "output_2": "m" * (150 + 53 * number % 307),
            "generator_2": "model",
            "annotator": "judge",
            "preference": _preference(number),
        }
        for number in range(prompts)
    ]


def _preference(number: int) -> float:
    """Longer answers and easier questions win, and some win for no reason."""
    longer = (53 * number % 307 - 37 * number % 211 - 50) / 80
    logit = 1 + longer + 1.5 * math.cos(0.9 * number) + math.sin(1.7 * number)
    return 1 + 1 / (1 + math.exp(-logit))


def difficulty(prompts: int = PROMPTS) -> list[float]:
    return [2 * math.cos(0.9 * number) for number in range(prompts)]


def gamed_rows(difficulties: Iterable[float]) -> list[dict[str, Any]]:
    """A longer and a shorter baseline for each instruction."""
    return [
        {
            "index": index,
            "model": name,
            "preference": preference,
            "std_delta_len": delta,
            "instruction_difficulty": value,
            "not_gamed_baseline": False,
        }
        for name, delta, preference in (("verbose", -0.5, 0.64), ("concise", 1.0, 0.23))
        for index, value in enumerate(difficulties)
    ]


def write_json(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows, indent=1))
    return path


def write_csv(path: Path, rows: list[Mapping[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_questions(path: Path, prompts: int = PROMPTS) -> Path:
    return write_json(path, [{"instruction": instruction(number)} for number in range(prompts)])


def write_difficulty(path: Path, prompts: int = PROMPTS) -> Path:
    rows = [{"index": i, "instruction_difficulty": d} for i, d in enumerate(difficulty(prompts))]
    return write_csv(path, rows)
