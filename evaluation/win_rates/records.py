"""The rows of a JSON, JSONL or CSV file of a benchmark's, and what may stand in them."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from generation.sources.columns import read_records

Record = Mapping[str, Any]


def read_rows(path: Path) -> list[Record]:
    """The records of a file, at least one; `generation.sources.columns` says of which kinds.

    Raises:
        UserError: the file is missing, empty, cut, or holds something else.
    """
    rows: list[Record] = [record for _, record in read_records(path)]
    if not rows:
        raise UserError(f"{path}: holds no row")
    return rows


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file under its header.

    Raises:
        UserError: the file is missing, or has no row.
    """
    rows = list(csv.DictReader(io.StringIO(_text(path), newline="")))
    if not rows:
        raise UserError(f"{path}: holds no row under a header")
    return rows


def text_of(record: Record, key: str, place: str) -> str:
    """A text of a row; `place` says which, e.g. its file and number.

    Raises:
        UserError: the row has no such key, or something else under it.
    """
    value = record.get(key)
    if not isinstance(value, str):
        there = f"is {_kind(value)}" if key in record else f"is missing; there is {_keys(record)}"
        raise UserError(f"{place}: `{key}` {there}, and is to be a text")
    return value


def number_of(record: Record, key: str, place: str) -> float:
    """A finite number of a row, which in a CSV file is a text; `place` as in `text_of`.

    Raises:
        UserError: it is missing, or not finite.
    """
    value = record.get(key)
    try:
        number = float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        there = f"is {value!r:.60}" if key in record else f"is missing; there is {_keys(record)}"
        raise UserError(f"{place}: `{key}` {there}, and is to be a number")
    return number


def refuse_several(records: Sequence[Record], key: str, path: Path, why: str) -> None:
    """Refuse a file whose rows hold several values of a key that must be the same in all.

    Raises:
        UserError: rows differ under a key that is to be one for the whole file, where they have it.
    """
    named = [(n, record[key]) for n, record in enumerate(records, start=1) if key in record]
    for number, name in named:
        if name != named[0][1]:
            raise UserError(
                f"{path}: row {number}: `{key}` is {name!r}, in row {named[0][0]} "
                f"{named[0][1]!r}: {why}; give each a file"
            )


def texts_sha256(texts: Mapping[str, Sequence[str]] | Sequence[Sequence[str]]) -> str:
    """SHA-256 of texts, by key or not, in whatever order and file they came: one set of answers is
    published in several layouts, of which each has a hash of its own."""
    rows = texts.items() if isinstance(texts, Mapping) else texts
    ordered = sorted(json.dumps(row) for row in rows)
    return hashlib.sha256("\n".join(ordered).encode()).hexdigest()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        type(None): "null",
        bool: "a boolean",
    }
    return names.get(type(value), "a number")


def _keys(record: Record) -> str:
    return ", ".join(f"`{key}`" for key in record) or "nothing"
