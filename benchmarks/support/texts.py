"""Prompts with two answers each: UltraFeedback's public rows, or words of the same lengths.

The public rows are read from beside the checkout. Where they do not lie there, as on a user's
machine, random words take their place, of the lengths that were recorded from those rows.
"""

import json
import random
from pathlib import Path

SOURCE = Path(__file__).parents[3] / "shared" / "data" / "ultrafeedback" / "train_1000.jsonl"
FIELDS = ("prompt", "chosen", "rejected")
Row = dict[str, str]
"""A text for each of FIELDS."""

_ROWS = 1000
# Characters at the 0, 10, 25, 50, 75, 90 and 99 % quantiles of the 1,000 public rows.
_PROMPT_LENGTHS = (17, 54, 109, 363, 801, 1769, 4360)
_RESPONSE_LENGTHS = (2, 68, 243, 858, 1925, 2740, 4220)
_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
# Letters of a word: with its space 4 characters on average, as real texts have to a token.
_SHORTEST, _LONGEST = 1, 5


def source_of_texts() -> str:
    """Where they come from, for a figure's details."""
    return "UltraFeedback rows" if SOURCE.exists() else "recorded UltraFeedback lengths"


def rows() -> list[Row]:
    """All rows that have a prompt and two answers, in their order."""
    if not SOURCE.exists():
        return random_rows()
    found = [json.loads(line) for line in SOURCE.read_text(encoding="utf-8").splitlines()]
    return [row for row in found if all(row[name] for name in FIELDS)]


def random_rows() -> list[Row]:
    """As many as the public ones, the same ones whenever they are drawn."""
    draw = random.Random(1)
    letters = ((draw.randint(_SHORTEST, _LONGEST)) for _ in range(3000))
    words = ["".join(draw.choices("etaoinshrdlu", k=count)) for count in letters]

    def text(lengths: tuple[int, ...]) -> str:
        size = _length(draw.random() * _SHARES[-1], lengths)
        return " ".join(draw.choices(words, k=max(1, round(size / 4))))

    lengths = (_PROMPT_LENGTHS, _RESPONSE_LENGTHS, _RESPONSE_LENGTHS)
    return [dict(zip(FIELDS, map(text, lengths), strict=True)) for _ in range(_ROWS)]


def _length(share: float, lengths: tuple[int, ...]) -> float:
    """Characters at a share of the distribution whose quantiles are `lengths`."""
    step = max(i for i, known in enumerate(_SHARES[:-1]) if known <= share)
    part = (share - _SHARES[step]) / (_SHARES[step + 1] - _SHARES[step])
    return lengths[step] + part * (lengths[step + 1] - lengths[step])
