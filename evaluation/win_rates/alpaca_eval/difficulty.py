"""AlpacaEval's files for its length-controlled win rate, joined by instruction."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from contracts.errors import UserError
from evaluation.win_rates.alpaca_eval.annotations import Annotations
from evaluation.win_rates.alpaca_eval.instructions import Instructions
from evaluation.win_rates.alpaca_eval.length_control import Gamed, Judged
from evaluation.win_rates.records import number_of, read_csv

_DIFFICULTY = "instruction_difficulty"


def read_difficulty(path: Path, instructions: Instructions) -> dict[int, float]:
    """Difficulty by an instruction's number in the benchmark: `instruction_difficulty.csv`, or
    the same column of `df_gamed.csv`. A row says its instruction by `instruction` or `index`.

    Raises:
        UserError: a row has neither, is foreign, or holds no number.
    """
    by_index: dict[int, float] = {}
    for number, row in enumerate(_rows(path), start=2):
        index = _index(row, path, number, instructions)
        by_index.setdefault(index, number_of(row, _DIFFICULTY, f"{path}: line {number}"))
    return by_index


def read_gamed(path: Path, annotations: Annotations, instructions: Instructions) -> Gamed:
    """The gamed baselines of `df_gamed.csv`; rows without a preference are left out, as the
    package leaves them.

    Raises:
        UserError: a column is missing, or holds something else.
    """
    place = {int(index): row for row, index in enumerate(annotations.index)}
    rows = [
        (number, row)
        for number, row in enumerate(_rows(path), start=2)
        if row.get("preference", "missing") not in ("", "nan", "NaN")
    ]
    columns = {
        key: np.array([number_of(row, key, f"{path}: line {number}") for number, row in rows])
        for key in ("preference", "std_delta_len", _DIFFICULTY)
    }
    return Gamed(
        columns["preference"],
        columns["std_delta_len"],
        columns[_DIFFICULTY],
        np.array([_truth(row, "not_gamed_baseline", path, number) for number, row in rows]),
        np.array([place.get(_index(row, path, n, instructions), -1) for n, row in rows]),
    )


def judged(annotations: Annotations, difficulty: Mapping[int, float], path: Path) -> Judged:
    """The judgements with the difficulty of each one's own instruction, whatever the row.

    Raises:
        UserError: an instruction has no difficulty.
    """
    refuse_no_difficulty(difficulty, annotations.index.tolist(), path)
    return Judged(
        annotations.preference,
        annotations.baseline_length - annotations.length,
        np.array([difficulty[int(index)] for index in annotations.index]),
    )


def refuse_no_difficulty(
    difficulty: Mapping[int, float], indices: Sequence[int], path: Path
) -> None:
    """Refuse a file that lacks the difficulty of an instruction.

    Raises:
        UserError: an instruction has no difficulty.
    """
    if lacking := [index for index in indices if index not in difficulty]:
        raise UserError(
            f"{path}: has no difficulty of instruction {lacking[0]}; a length-controlled win rate "
            "needs one for each that is judged (a run's is left out by `difficulty: null` and "
            "`gamed: null`)"
        )


def _rows(path: Path) -> list[dict[str, str]]:
    """
    Raises:
        UserError: it is no such file, e.g. a leaderboard.
    """
    rows = read_csv(path)
    if rows and _DIFFICULTY not in rows[0]:
        known = ", ".join(f"`{name}`" for name in rows[0] if name) or "none"
        raise UserError(
            f"{path}: has no column `{_DIFFICULTY}`, only {known}; give AlpacaEval's "
            "instruction_difficulty.csv or df_gamed.csv"
        )
    return rows


def _index(row: Mapping[str, str], path: Path, number: int, instructions: Instructions) -> int:
    if row.get("instruction"):
        index = instructions.index(row["instruction"])
        if index is None:
            raise UserError(f"{path}: line {number}: no instruction of {instructions.name}")
        return index
    # `instruction_difficulty.csv` itself has its index under an empty name.
    key = "index" if "index" in row or "" not in row else ""
    found = number_of(row, key, f"{path}: line {number}")
    if found != int(found) or not 0 <= found < len(instructions.hashes):
        raise UserError(
            f"{path}: line {number}: `index` is {found:g}; {instructions.name} has instructions 0 "
            f"to {len(instructions.hashes) - 1}"
        )
    return int(found)


def _truth(row: Mapping[str, str], key: str, path: Path, number: int) -> bool:
    value = (row.get(key) or "").lower()
    if value not in ("true", "false", "0", "1", "0.0", "1.0"):
        raise UserError(f"{path}: line {number}: `{key}` is {row.get(key)!r}; it is True or False")
    return value in ("true", "1", "1.0")
