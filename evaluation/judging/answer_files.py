"""Files of answers and questions as the benchmarks' own tools write them."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from evaluation.win_rates.records import read_rows, text_of, texts_sha256


@dataclass(frozen=True)
class Answer:
    """A model's answer to a question, a text a turn."""

    turns: list[str]
    record: Mapping[str, Any] = field(default_factory=dict)
    """The file's own fields."""


@dataclass(frozen=True)
class Answers:
    """A file of answers."""

    generator: str
    """The model's name in the file."""
    by_key: dict[str, Answer]
    sha256: str
    """Of the file."""

    @property
    def texts_sha256(self) -> str:
        """Of its answers, whatever file they came in."""
        return texts_sha256({key: answer.turns for key, answer in self.by_key.items()})


def instruction_key(instruction: str) -> str:
    """The id of an AlpacaEval question, which has none but its words."""
    return hashlib.sha256(instruction.encode()).hexdigest()[:16]


def file_name(name: str) -> str:
    """A model's name as a file's name."""
    return re.sub(r"[^\w.-]", "_", name).lstrip(".") or "model"


def read_outputs(path: Path) -> Answers:
    """AlpacaEval's `model_outputs.json`: a list of `instruction`, `output`, `generator`.

    Raises:
        UserError: it is no such file, or answers an instruction twice.
    """
    answers: dict[str, Answer] = {}
    for origin, row in _rows(path):
        instruction = text_of(row, "instruction", origin)
        _add(
            answers,
            instruction_key(instruction),
            Answer([text_of(row, "output", origin)], row),
            origin,
        )
    return Answers(_one_name(path, answers, ("generator",)), answers, _sha256(path))


def read_answers(path: Path) -> Answers:
    """Arena-Hard's or FastChat's `model_answer/*.jsonl`: `question_id`, `choices[0].turns`; or
    `uid`, `messages`, as arena-hard-auto has both its versions since 2025.

    Raises:
        UserError: it is no such file, or answers a question twice.
    """
    answers: dict[str, Answer] = {}
    for origin, row in _rows(path):
        try:
            if "choices" in row:
                turns, key = _turns(row["choices"][0]["turns"]), str(row["question_id"])
            else:
                turns, key = _turns([row["messages"][-1]["content"]["answer"]]), str(row["uid"])
        except (KeyError, IndexError, TypeError):
            raise UserError(
                f"{origin}: needs `question_id` and `choices[0].turns`, a list (or `uid` and "
                "`messages`)"
            ) from None
        _add(answers, key, Answer(turns, row), origin)
    return Answers(_one_name(path, answers, ("model_id", "model")), answers, _sha256(path))


def read_question_rows(path: Path, turns_each: int = 1) -> list[tuple[str, list[str], str]]:
    """Id, turns and category of each question in a `question.jsonl` of either tool.

    Args:
        turns_each: turns that a question has at least.

    Raises:
        UserError: it is no such file, asks something twice, or too few turns.
    """
    questions: dict[str, tuple[str, list[str], str]] = {}
    for origin, row in _rows(path):
        try:
            key, turns = str(row["question_id"]), _turns(row["turns"])
        except (KeyError, TypeError):
            raise UserError(f"{origin}: needs `question_id` and `turns`, a list") from None
        if key in questions:
            raise UserError(f"{origin}: question {key} stands there twice; leave one out")
        if len(turns) < turns_each:
            raise UserError(
                f"{origin}: question {key} has {len(turns)} turns; {turns_each} are judged"
            )
        questions[key] = (key, turns, str(row.get("category") or ""))
    return list(questions.values())


def refuse_foreign(path: Path, answers: Answers, keys: set[str], what: str) -> None:
    """Refuse answers to questions that are not asked: they belong to another benchmark.

    Raises:
        UserError: names the first of them.
    """
    foreign = [key for key in answers.by_key if key not in keys]
    if foreign:
        record = answers.by_key[foreign[0]].record
        first = str(record.get("instruction") or record.get("question_id") or record.get("uid"))
        raise UserError(
            f"{path}: {len(foreign):,} of its {len(answers.by_key):,} answers are to questions "
            f"that are not in {what}, the first: {first!r:.100}; give files of the same questions"
        )


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, row in enumerate(read_rows(path), 1):
        yield f"{path}: row {number}", row


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _turns(turns: Any) -> list[str]:
    """A text alone is no list of turns: it would be one of its characters."""
    if not isinstance(turns, list):
        raise TypeError
    return [_turn(turn) for turn in turns]


def _turn(turn: Any) -> str:
    """FastChat's turn is a text, Arena-Hard's an object with one."""
    text = turn["content"] if isinstance(turn, dict) else turn
    if not isinstance(text, str):
        raise TypeError
    return text


def _add(answers: dict[str, Answer], key: str, answer: Answer, origin: str) -> None:
    if key in answers:
        raise UserError(f"{origin}: answers a question that was answered before; leave one out")
    answers[key] = answer


def _one_name(path: Path, answers: Mapping[str, Answer], columns: tuple[str, ...]) -> str:
    names = {str(one.record.get(column)) for one in answers.values() for column in columns
             if one.record.get(column)}  # fmt: skip
    if len(names) > 1:
        raise UserError(f"{path}: holds answers of {', '.join(sorted(names))}; give one's")
    return names.pop() if names else path.stem
