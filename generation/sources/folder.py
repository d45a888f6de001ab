"""A folder of data files as a source of prompts."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import UserError, first_line

# What `datasets.load_dataset` takes up of a folder (datasets 4.8, packaged_modules).
_DATA = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".arrow", ".txt", ".zst", ".gz",
         ".zip")  # fmt: skip


def refuse_no_data(folder: Path) -> None:
    """Refuse a folder that cannot be one table; no row is read.

    Raises:
        UserError: it holds no data file; a parquet file cannot be read, or has other columns than
            the first. `datasets` names neither file nor column.
    """
    files = [path for path in sorted(folder.rglob("*")) if _is_data(path.relative_to(folder))]
    if not files:
        raise UserError(f"{folder}: holds no data set: no .parquet, .jsonl, .json or .csv file")
    if _has_configs(folder):
        return
    tables = [path for path in files if path.suffix == ".parquet"]
    schemas = {path: _schema(path) for path in tables}
    for path, schema in schemas.items():
        if told := _difference(schemas[tables[0]], schema):
            raise UserError(
                f"{path}: {told}, unlike {tables[0].relative_to(folder)}; the files of a folder "
                "are one table, so name one file, or give each under `sources`"
            )


def _is_data(path: Path) -> bool:
    return path.suffix in _DATA and not any(part.startswith((".", "_")) for part in path.parts)


def _has_configs(folder: Path) -> bool:
    """Whether its card says which files belong together."""
    card = folder / "README.md"
    return card.is_file() and "\nconfigs:" in card.read_text(errors="replace")


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: is no readable parquet file: {first_line(error)}") from None


def _difference(first: pa.Schema, other: pa.Schema) -> str | None:
    """In which column a file differs, in words."""
    for name in first.names:
        if name not in other.names:
            return f"has no column {name!r}"
    for field in other:
        if field.name not in first.names:
            return f"has a column {field.name!r}"
        if (kind := first.field(field.name).type) != field.type:
            return f"column {field.name!r} is {field.type}, not {kind}"
    return None
