"""A file of AlpacaEval's judgements (`annotations.json`), read and looked at."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from contracts.errors import UserError
from evaluation.win_rates.alpaca_eval.instructions import Instructions, text_hash
from evaluation.win_rates.records import (
    Record,
    number_of,
    read_rows,
    refuse_several,
    text_of,
    texts_sha256,
)

# Preferences of a judge without log-probs: the baseline, a tie, the model; 0 is the package's older
# tie.
_HARD = (0.0, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Annotations:
    """Judgements of one model against one baseline, in the benchmark's order, whatever the file's:
    the folds of a length-controlled fit go by it."""

    index: np.ndarray
    """[prompts] int, the instruction's number in the benchmark."""
    preference: np.ndarray
    """[prompts] float64: 0 the baseline's answer, 1 the model's, 0.5 neither."""
    baseline_length: np.ndarray
    """[prompts] float64, characters."""
    length: np.ndarray
    """[prompts] float64, characters of the model's answer."""
    hard_labels: float
    """Share of judgements without a probability: exactly a win, a loss or a tie."""
    model: str
    baseline: str
    baseline_sha256: str
    """`texts_sha256` of its answers."""
    annotators: Sequence[str]
    asked: int
    """Instructions that the benchmark has."""

    @property
    def average_length(self) -> int:
        """Mean length of the model's answers in characters, as the leaderboard counts it."""
        return _whole_mean(self.length)

    def only(self, index: Collection[int]) -> "Annotations":
        """The annotations of these instructions only."""
        rows = np.isin(self.index, list(index))
        columns = ("index", "preference", "baseline_length", "length")
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})


def average_length(answers: Sequence[str]) -> int:
    """Characters of an answer as the leaderboard counts them, at least one answer."""
    return _whole_mean(np.array([len(answer) for answer in answers], float))


def read_annotations(path: Path, instructions: Instructions) -> Annotations:
    """The judgements of a file in AlpacaEval's format: `output_1` is the baseline's answer,
    `preference` goes from 1 (it is better) to 2 (`output_2` is).

    Raises:
        UserError: a row that is foreign, there twice, of another shape or without a preference.
    """
    records = read_rows(path)
    _refuse_answers(records[0], path)
    index = np.array(_indices(records, path, instructions))
    rows = list(enumerate(records, start=1))
    preferences = np.array([_preference(record, path, number) for number, record in rows])
    order = np.argsort(index)
    return Annotations(
        index[order],
        np.where(preferences == 0, 1.5, preferences)[order] - 1,  # 0 is the package's older tie
        baseline_length=_lengths(rows, "output_1", path)[order],
        length=_lengths(rows, "output_2", path)[order],
        hard_labels=float(np.isin(preferences, _HARD).mean()),
        model=_only(records, "generator_2", path),
        baseline=_only(records, "generator_1", path),
        baseline_sha256=_baseline_sha256(records),
        annotators=sorted({str(r["annotator"]) for r in records if r.get("annotator")}),
        asked=len(instructions.hashes),
    )


def _refuse_answers(first: Record, path: Path) -> None:
    """
    Raises:
        UserError: these are a model's answers, which nobody has judged.
    """
    if "output" in first and "preference" not in first:
        raise UserError(
            f"{path}: holds a model's answers, not judgements of them; `onpolicy judge {path} "
            "--benchmark alpaca_eval ...` has them judged, and writes an annotations.json"
        )


def _indices(records: Sequence[Record], path: Path, instructions: Instructions) -> list[int]:
    rows: dict[int, int] = {}
    for number, record in enumerate(records, start=1):
        instruction = text_of(record, "instruction", f"{path}: row {number}")
        index = instructions.index(instruction)
        if index is None:
            raise UserError(
                f"{path}: row {number}: {_short(instruction)} is no instruction of "
                f"{instructions.name}; another benchmark's questions are given by --instructions"
            )
        if index in rows:
            raise UserError(
                f"{path}: row {number}: {_short(instruction)} was judged in row {rows[index]} "
                "already; keep one of the two"
            )
        rows[index] = number
    return list(rows)


def _baseline_sha256(records: Sequence[Record]) -> str:
    return texts_sha256({text_hash(row["instruction"]): [row["output_1"]] for row in records})


def _lengths(rows: Sequence[tuple[int, Record]], key: str, path: Path) -> np.ndarray:
    texts = (text_of(record, key, f"{path}: row {number}") for number, record in rows)
    return np.array([len(text) for text in texts], float)


def _preference(record: Record, path: Path, number: int) -> float:
    value = record.get("preference")
    if value is None or value != value:
        there = "NaN" if value else "missing"
        raise UserError(
            f"{path}: row {number}: `preference` is {there}, the judge gave none: judge it again, "
            "or leave the row out, and the win rate says over how many prompts it is"
        )
    preference = number_of(record, "preference", f"{path}: row {number}")
    if preference and not 1 <= preference <= 2:
        raise UserError(
            f"{path}: row {number}: `preference` is {preference:g}; it goes from 1 "
            "(output_1 is better) to 2 (output_2 is)"
        )
    return preference


def _only(records: Sequence[Record], key: str, path: Path) -> str:
    """The one name that all rows hold."""
    for number, record in enumerate(records, start=1):
        text_of(record, key, f"{path}: row {number}")
    refuse_several(records, key, path, "a win rate is of one model against one baseline")
    return str(records[0][key])


def _whole_mean(lengths: np.ndarray) -> int:
    return int(lengths.mean())


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
