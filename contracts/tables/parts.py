"""Atomic parquet parts: a part that exists is whole."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.errors import OnPolicyError, UserError, first_line
from contracts.redo_hint import way_out

_DISTINCT = ("text", "content", "response_id", "chosen_id", "rejected_id")


def part_path(folder: Path, index: int) -> Path:
    """Where part `index` of a table lies."""
    return folder / f"part-{index:05d}.parquet"


def part_paths(folder: Path) -> list[Path]:
    """The finished parts of a table, in order."""
    return sorted(folder.glob("part-*.parquet"))


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it is either absent, old or whole: temporary name, fsync, rename."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # where nothing can be written, nothing can be deleted
            temporary.unlink(missing_ok=True)
        error.filename = str(path)  # a failed write (disk full) does not say which file
        raise
    sync_folder(path.parent)


def write_part(folder: Path, index: int, table: pa.Table, schema: pa.Schema) -> Path:
    """Write one part under its schema, whole or not at all.

    Raises:
        OnPolicyError: a column is missing, of another type, or null where it may not be.
    """
    path = part_path(folder, index)
    write_table(path, table, schema)
    return path


def write_table(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    """Write a table that is one file, whole or not at all."""
    write_atomic(path, encode(table, schema, str(path)))


def encode(table: pa.Table, schema: pa.Schema, origin: str) -> bytes:
    """The bytes of a part's file; `origin` names the table in an error.

    Raises:
        OnPolicyError: a column is missing, of another type, or null where it may not be.
    """
    table = conform(table, schema, origin)
    sink = pa.BufferOutputStream()
    # A flipped bit is then told as the part is read (`read_part`), and not trained on.
    pq.write_table(
        table, sink, compression="zstd", write_page_checksum=True, use_dictionary=_repeating(schema)
    )
    return sink.getvalue().to_pybytes()


def _repeating(schema: pa.Schema) -> list[str]:
    """The columns, by parquet's path, whose values repeat; looking for them elsewhere is dear."""

    def leaves(field: pa.Field, path: str) -> list[str]:
        if pa.types.is_list(field.type):
            return leaves(field.type.value_field, f"{path}.list.{field.type.value_field.name}")
        if pa.types.is_struct(field.type):
            return [leaf for child in field.type for leaf in leaves(child, f"{path}.{child.name}")]
        return [] if field.name in _DISTINCT or pa.types.is_float64(field.type) else [path]

    return [leaf for field in schema for leaf in leaves(field, field.name)]


def conform(table: pa.Table, schema: pa.Schema, origin: str) -> pa.Table:
    """`table` with exactly the schema's columns, types and metadata; nulls only where allowed."""
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise OnPolicyError(f"{origin}: column {missing[0]!r} is missing")
    try:
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, ValueError) as error:
        raise OnPolicyError(f"{origin}: does not fit its schema: {error}") from None
    for field in schema:
        if place := _null_in(table[field.name], field):
            raise OnPolicyError(f"{origin}: column {place!r} holds nulls")
    return table


def _null_in(column: pa.ChunkedArray, field: pa.Field) -> str | None:
    """Where a null stands that may not; a cast looks no deeper than the column itself."""
    if not field.nullable and column.null_count:
        return str(field.name)
    children: list[tuple[pa.ChunkedArray, pa.Field]] = []
    if pa.types.is_list(field.type):
        children = [(pc.list_flatten(column), field.type.value_field)]
    elif pa.types.is_struct(field.type):
        children = [(pc.struct_field(column, child.name), child) for child in field.type.fields]
    places = (_null_in(values, child) for values, child in children)
    return next((f"{field.name}.{place}" for place in places if place), None)


def read_part(
    path: Path, columns: list[str] | None = None, encoded: Sequence[str] = ()
) -> pa.Table:
    """One part.

    Args:
        encoded: columns to give as dictionaries, which are cheap where values repeat.

    Raises:
        UserError: the file is no readable parquet (it was damaged after it was written), or
            lacks a column.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=encoded)
        missing = set(columns or ()) - set(file.schema_arrow.names)
        if missing:
            raise KeyError(f"no column {min(missing)}")
        # Parts are small: handing columns to threads costs more than it brings.
        return file.read(columns=columns, use_threads=False)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: Exception) -> UserError:
    """The error for a file that is no readable parquet; it names the way out if the file is a
    stage's."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such file")
    stages = any((path.parent / name).exists() for name in ("_step.json", "_manifest.json"))
    out = f"; {way_out(path.parent)}" if stages else ""
    return UserError(f"{path}: is no whole parquet file ({first_line(error)}){out}")


def iter_parts(folder: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The parts of a finished table, one at a time."""
    for path in part_paths(folder):
        yield read_part(path, columns)


def read_table(folder: Path, columns: list[str] | None = None) -> pa.Table:
    """A whole table in memory.

    Raises:
        UserError: the folder holds no part, one cannot be read, or one has other columns.
    """
    parts = list(iter_parts(folder, columns))
    if not parts:
        raise UserError(f"{folder}: holds no part-*.parquet")
    for path, part in zip(part_paths(folder), parts, strict=True):
        if not part.schema.equals(parts[0].schema):
            raise UserError(
                f"{path}: its columns differ from those of the parts before it; a table's parts "
                "come from one stage"
            )
    return pa.concat_tables(parts)


def sync_folder(folder: Path) -> None:
    """Make a rename or a removal in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
