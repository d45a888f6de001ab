"""An answer's style as Arena-Hard measures it: length and markdown.

Both sides' answers are counted here, by one rule. Files say lengths of their own (`token_len`), in
GPT's tokens where arena-hard-auto wrote them, in a policy's where a run did: with 15 % more tokens
for the same words, a policy that is the baseline's equal at equal length (49.6 %) came to 43.5.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contracts.errors import UserError
from evaluation.win_rates.records import Record, read_rows

_TOKENS = re.compile(r"'(?:[sdmt]|ll|ve|re)\b|[^\W\d_]{1,9}|\d{1,3}|[^\w\s]+|_+|\n+")
_CODE_BLOCK = re.compile("```[^`]*```")
_HEADERS = {f"h{level}": re.compile(rf"^#{{{level}}}\s", re.MULTILINE) for level in range(1, 7)}
_LISTS = {
    "ordered": re.compile(r"^\s*\d+\.\s", re.MULTILINE),
    "unordered": re.compile(r"^\s*[-*+]\s", re.MULTILINE),
}
_BOLD = {"**": re.compile(r"\*\*[^*\n]+\*\*"), "__": re.compile(r"__[^_\n]+__")}


@dataclass(frozen=True)
class Style:
    """Length and markdown of one answer; markdown inside its code doesn't count."""

    tokens: int
    headers: int
    lists: int
    bold: int


def token_count(text: str) -> int:
    """About as many tokens as GPT-4 reads: words by nine letters, numbers by three digits, runs of
    punctuation and of line breaks.

    arena-hard-auto counts by tiktoken, whose vocabulary has to be downloaded. Measured against it
    (cl100k_base): 1.05 times as many in the 500 answers of gpt-4-0314, 0.99, 1.02 and 1.03 in
    AlpacaEval's of gemma-2-9b-it-SimPO, gpt4_1106_preview and Meta-Llama-3-8B-Instruct; 0.87 to
    1.15 times in nine answers of ten.
    """
    return sum(1 for _ in _TOKENS.finditer(text))


def markdown_counts(text: str) -> dict[str, dict[str, int]]:
    """Headers, lists and bold texts outside code blocks.

    As arena-hard-auto's utils/add_markdown_info.py (196f6b8) counts, a code block that holds a
    backtick included: it is no block there.
    """
    prose = _CODE_BLOCK.sub("", text)
    kinds = {"header_count": _HEADERS, "list_count": _LISTS, "bold_count": _BOLD}
    return {
        kind: {name: len(pattern.findall(prose)) for name, pattern in patterns.items()}
        for kind, patterns in kinds.items()
    }


def style_of(text: str) -> Style:
    """An answer's style."""
    counts = markdown_counts(text)
    kinds = ("header_count", "list_count", "bold_count")
    return Style(token_count(text), *(sum(counts[kind].values()) for kind in kinds))


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
        try:
            answer = _answer(record)
        except (KeyError, IndexError, TypeError):
            raise UserError(
                f"{path}: row {number}: has no answer as arena-hard's files hold it: "
                "`choices[0].turns[0]` (v0.1), or `messages` (v2)"
            ) from None
        by_question[str(record.get("question_id", record.get("uid")))] = style_of(answer)
    return by_question


def _answer(record: Record) -> str:
    answer: Any
    if "choices" in record:
        turn = record["choices"][0]["turns"][0]
        answer = turn["content"] if isinstance(turn, dict) else turn
    else:
        answer = record["messages"][-1]["content"]["answer"]
    if not isinstance(answer, str):
        raise TypeError
    return answer
