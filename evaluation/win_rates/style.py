"""An answer's style as Arena-Hard measures it: length and markdown."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contracts.errors import UserError
from evaluation.win_rates.records import Record, number_of, read_rows

_CODE = re.compile(r"```.*?```", re.DOTALL)
_HEADERS = re.compile(r"^#{1,6}\s", re.MULTILINE)
_LISTS = re.compile(r"^\s*(?:\d+\.|[-*+])\s", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")


@dataclass(frozen=True)
class Style:
    """Length and markdown of one answer; markdown inside its code doesn't count."""

    tokens: int
    headers: int
    lists: int
    bold: int


def style_of(text: str, tokens: int) -> Style:
    """An answer's style.

    Args:
        tokens: its length, `token_len` in Arena-Hard's answer files.
    """
    prose = _CODE.sub("", text)
    counts = (len(pattern.findall(prose)) for pattern in (_HEADERS, _LISTS, _BOLD))
    return Style(tokens, *counts)


def difference(model: Style, baseline: Style) -> np.ndarray:
    """[4] normalised: of the lengths over their sum, then of the headers, list items and bold
    parts a token over their sum and 1."""
    first, other = _vector(model), _vector(baseline)
    length = (first[0] - other[0]) / max(first[0] + other[0], 1)
    own_density, other_density = first[1:] / max(first[0], 1), other[1:] / max(other[0], 1)
    density = (own_density - other_density) / (own_density + other_density + 1)
    return np.concatenate([[length], density])


def _vector(style: Style) -> np.ndarray:
    return np.array([style.tokens, style.headers, style.lists, style.bold], float)


def read_styles(path: Path) -> dict[str, Style]:
    """Style of each answer in a `model_answer/*.jsonl`, v0.1 or v2, by question.

    Raises:
        UserError: a row of another shape.
    """
    by_question: dict[str, Style] = {}
    for number, record in enumerate(read_rows(path), start=1):
        place = f"{path}: row {number}"
        try:
            answer, tokens = _answer(record)
        except (KeyError, IndexError, TypeError):
            raise UserError(
                f"{place}: has no answer with its token length, as arena-hard's files hold it: "
                "`choices[0].turns[0]` (v0.1), or `messages` and `metadata` (v2)"
            ) from None
        question = str(record.get("question_id", record.get("uid")))
        length = number_of({"token_len": tokens}, "token_len", place)
        by_question[question] = style_of(str(answer), int(length))
    return by_question


def _answer(record: Record) -> tuple[Any, Any]:
    if "choices" in record:
        turn = record["choices"][0]["turns"][0]
        return turn["content"], turn["token_len"]
    return record["messages"][-1]["content"]["answer"], record["metadata"]["token_len"]
