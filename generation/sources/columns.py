"""One column, or the records, of a JSONL, JSON or parquet file; one column of a hub dataset, too.

JSON may be gzipped, whatever its name says.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import OnPolicyError, UserError, first_line
from contracts.models.hub import refuse_unreachable
from contracts.models.model import split_reference
from generation.sources.folder import refuse_no_data

_GZIP = b"\x1f\x8b"
_as_text = json.JSONEncoder(ensure_ascii=False, default=str).encode

SourceValue = tuple[str, Any]
"""Where a value stands (`file:line`), and the value."""


def read_column(
    reference: str, columns: Sequence[str], hub_split: str = "train"
) -> Iterator[SourceValue]:
    """The values of the first of `columns` that the file or hub dataset holds.

    Raises:
        UserError: nothing there, an unknown kind of file, a malformed row, no such column.
    """
    return _raising(rows_or_faults(reference, columns, hub_split))


def rows_or_faults(
    reference: str, columns: Sequence[str], hub_split: str = "train"
) -> Iterator[SourceValue]:
    """As `read_column`, with a row that cannot be read as a `UserError` in its value's place, so
    that the rows after it are looked at, too."""
    path = Path(reference)
    readers = {".jsonl": _from_jsonl, ".json": _from_json, ".parquet": _from_parquet}
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind in readers:
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        return readers[kind](path, columns)
    if path.is_file():
        raise UserError(f"{path}: prompts are read from .jsonl, .json (also .gz) or .parquet")
    return _from_dataset(reference, columns, hub_split)


def _raising(rows: Iterator[SourceValue]) -> Iterator[SourceValue]:
    for origin, value in rows:
        if isinstance(value, UserError):
            raise value
        yield origin, value


def read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each record of a file: its place (`file:line`) and its fields.

    Raises:
        UserError: no such file, an unknown kind of file, a malformed row.
    """
    readers = {".jsonl": _jsonl_records, ".json": _json_records, ".parquet": _parquet_records}
    kind = Path(path.name.removesuffix(".gz")).suffix
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if kind not in readers:
        raise UserError(f"{path}: records are read from .jsonl, .json (also .gz) or .parquet")
    for origin, record in _raising(readers[kind](path)):
        if not isinstance(record, dict):
            raise UserError(f"{origin}: is no record with named fields")
        _refuse_half_a_pair(origin, record)
        yield origin, record


def _refuse_half_a_pair(origin: str, record: dict[str, Any]) -> None:
    """
    Raises:
        UserError: a text holds half a surrogate pair, which JSON can spell and no table can hold.
    """
    try:
        _as_text(record).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):x}"
        raise UserError(
            f"{origin}: a text holds {half}, half of a character that UTF-8 cannot hold; write the "
            "whole character, or leave it out"
        ) from None


def _from_jsonl(path: Path, columns: Sequence[str]) -> Iterator[SourceValue]:
    yield from _pick(_jsonl_records(path), columns)


def _jsonl_records(path: Path) -> Iterator[SourceValue]:
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield f"{path}:{number}", _record(path, number, line)


def _record(path: Path, number: int, line: bytes) -> Any:
    if line.lstrip().startswith(b"["):
        raise UserError(
            f"{path}:{number}: begins a list, where a .jsonl file has one record a line; a file "
            "that holds one list of records is a .json file, name it so"
        )
    try:
        return _parse(f"{path}:{number}", line.rstrip())
    except UserError as error:
        return error


def _from_json(path: Path, columns: Sequence[str]) -> Iterator[SourceValue]:
    yield from _pick(_json_records(path), columns)


def _json_records(path: Path) -> Iterator[SourceValue]:
    text = b"".join(_lines(path))
    if _begins_with_a_record(text):
        name = path.name.replace(".json", ".jsonl")
        raise UserError(f"{path}: holds one record a line; rename it to {name}")
    records = _parse(str(path), text)
    if not isinstance(records, list):
        raise UserError(f"{path}: holds no list of records; JSON lines belong in a .jsonl file")
    yield from ((f"{path}[{i}]", record) for i, record in enumerate(records))


def _begins_with_a_record(text: bytes) -> bool:
    line = text.lstrip().partition(b"\n")[0]
    try:
        return line.startswith(b"{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
    try:
        with gzip.open(path) if zipped else path.open("rb") as lines:
            yield from lines
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: its gzip is cut or damaged: {error}") from None


def _from_parquet(path: Path, columns: Sequence[str]) -> Iterator[SourceValue]:
    try:
        file = pq.ParquetFile(path)
        column = _choose(str(path), file.schema_arrow.names, columns)
        row = 0
        for batch in file.iter_batches(columns=[column]):
            for value in batch.column(0).to_pylist():
                yield f"{path}[{row}]", value
                row += 1
    except pa.ArrowException as error:
        raise UserError(f"{path}: is no readable parquet file: {error}") from None


def _parquet_records(path: Path) -> Iterator[SourceValue]:
    try:
        records = pq.read_table(path).to_pylist()
    except pa.ArrowException as error:
        raise UserError(f"{path}: is no readable parquet file: {error}") from None
    yield from ((f"{path}[{row}]", record) for row, record in enumerate(records))


def _from_dataset(reference: str, columns: Sequence[str], split: str) -> Iterator[SourceValue]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    name, revision = split_reference(reference)
    refuse_unreachable("dataset", reference)
    if Path(name).is_dir():
        refuse_no_data(Path(name))
    try:
        dataset = load_dataset(name, split=split, revision=revision)
    except (DatasetsError, ValueError, FileNotFoundError) as error:
        reason = first_line(error.__cause__ or error)
        raise UserError(f"{reference} (split {split}): cannot be loaded: {reason}") from None
    except ConnectionError as error:
        raise OnPolicyError(f"{reference}: the hub cannot be reached: {error}") from None
    column = _choose(reference, dataset.column_names, columns)
    for row, value in enumerate(dataset[column]):
        yield f"{reference}[{row}]", value


def _pick(records: Iterable[SourceValue], columns: Sequence[str]) -> Iterator[SourceValue]:
    column = None
    for origin, record in records:
        try:
            if isinstance(record, UserError):
                raise record
            if not isinstance(record, dict):
                raise UserError(f"{origin}: is no record with named fields")
            if column is None or column not in record:
                column = _choose(origin, list(record), columns)
            yield origin, record[column]
        except UserError as error:
            yield origin, error


def _choose(origin: str, present: Sequence[str], columns: Sequence[str]) -> str:
    if column := next((name for name in columns if name in present), None):
        return column
    raise UserError(
        f"{origin}: no column {' or '.join(map(repr, columns))}; it holds "
        + (", ".join(map(repr, present)) or "none")
    )


def _parse(origin: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}"
        ends = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
        cut = "; it ends too early, as half a file does" if ends else ""
        raise UserError(f"{origin}: not valid JSON: {error.msg} ({where}){cut}") from None
    except UnicodeDecodeError:
        raise UserError(f"{origin}: not UTF-8 text") from None
    except RecursionError:
        raise UserError(f"{origin}: brackets nested too deep") from None
    except ValueError as error:  # a number of more than 4,300 digits
        raise UserError(f"{origin}: not valid JSON: {first_line(error)}") from None
