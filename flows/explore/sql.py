"""SQL over a run's tables through DuckDB, which can read those tables and nothing else.

It is handed open tables, never paths, and all access to files is off and stays off: a query can
neither write (`COPY ... TO` a finished part) nor read what is not of the run.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from contracts.errors import UserError, first_line
from contracts.tables.parts import part_paths, read_part, unreadable

_CLOSED = {
    "enable_external_access": "false",
    # Its own folder for what exceeds the memory stays writable otherwise.
    "temp_directory": "",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # A name in a query is a table's, never a Python variable's.
    "python_enable_replacements": "false",
    "lock_configuration": "true",
}
# PIVOT counts as MULTI; DESCRIBE, SUMMARIZE and SHOW as SELECT.
_READS = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI}
CHECKED = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)
_ROUND = re.compile(r"round-(\d+)/(.+)")


def query(folder: Path, sql: str) -> pa.Table:
    """The result of a query over the tables below `folder`.

    Every table has its path's name (`round_1_pairs`, `round_1_evaluation_scores`); that of
    `folder` itself is `this`, and has its folder's name. Tables that each round has are also one
    view over all rounds, with a column `round` (`pairs`).

    Raises:
        UserError: `folder` is a file, there is no table, a part has other columns than the rest
            of its table, or the query fails, is none or is several; says why.
    """
    if folder.is_file():
        raise UserError(f"{folder}: --sql reads the tables below a folder; name its folder, "
                        f"{folder.parent}")  # fmt: skip
    tables = _tables(folder)
    if not tables:
        raise UserError(f"{folder}: no table lies below it")
    with duckdb.connect(":memory:", config=_CLOSED) as connection:
        for name, location in tables.items():
            connection.register(name, open_parts(part_paths(location)))
        views = _views(folder, tables)
        for name, select in views.items():
            connection.execute(f'CREATE VIEW "{name}" AS {select}')
        try:
            _refuse_all_but_reading(connection, sql)
            with naming_damage(
                [part for location in tables.values() for part in part_paths(location)]
            ):
                return connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            names = ", ".join(sorted({*tables, *views}))
            raise UserError(f"--sql: {first_line(error)}; tables: {names}") from None


def matching_rows(
    parts: Sequence[Path], where: str | None, sort: str | None, rows: int
) -> pa.Table:
    """The first rows of the one table in `parts`, filtered by `where` and sorted by `sort`.

    Raises:
        UserError: an expression is not valid, or the parts' columns differ.
    """
    with naming_damage(parts):
        return matching(open_parts(parts), where, sort, rows)


def matching(dataset: ds.Dataset, where: str | None, sort: str | None, rows: int) -> pa.Table:
    """The first rows of an open table, filtered by `where` and sorted by `sort`.

    Raises:
        UserError: an expression is not valid.
    """
    with duckdb.connect(":memory:", config=_CLOSED) as connection:
        table = connection.from_arrow(dataset)
        columns = ", ".join(table.columns)
        if where is not None:
            with _told("--where", columns):
                table = table.filter(where)
        if sort is not None:
            with _told("--sort", columns):
                table = table.order(f"({sort[1:]}) DESC" if sort.startswith("-") else sort)
        # A cast fails only here, where rows are read.
        given = "--where" if sort is None else "--where or --sort"
        with _told(given, columns):
            return table.limit(rows).to_arrow_table()


@contextmanager
def _told(option: str, columns: str) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise UserError(f"{option}: {first_line(error)}; columns: {columns}") from None


def _refuse_all_but_reading(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = connection.extract_statements(sql)
    kinds = {statement.type for statement in statements}
    if not kinds or kinds - _READS:
        raise UserError(
            "--sql: only reads: SELECT, WITH, DESCRIBE, SUMMARIZE, PIVOT; a run's files are "
            "not written by a query (send the output to a file instead)"
        )
    if len(statements) > 1:
        raise UserError(f"--sql: these are {len(statements)} queries, and one is answered; give "
                        "one at a time")  # fmt: skip


def _tables(root: Path) -> dict[str, Path]:
    """Each table's name and folder; `this` is `root` itself.

    Raises:
        UserError: two folders have one name.
    """
    tables = {"this": root} if part_paths(root) else {}
    for folder in sorted({path.parent for path in root.rglob("part-*.parquet")} - {root}):
        name = _name(str(folder.relative_to(root)))
        if name in tables:
            raise UserError(f"{folder} and {tables[name]} have one name in SQL, {name}; rename one")
        tables[name] = folder
    return tables


def open_parts(parts: Sequence[Path]) -> ds.Dataset:
    """The parts as one table.

    Raises:
        UserError: a part cannot be read, or its columns are not those of the first one.
    """
    schemas = [_schema(path) for path in parts]
    for path, schema in zip(parts, schemas, strict=True):
        if not schema.equals(schemas[0]):
            raise UserError(
                f"{path}: its columns differ from those of {parts[0]}; name one of the files"
            )
    return ds.dataset([str(path) for path in parts], schema=schemas[0], format=CHECKED)


@contextmanager
def naming_damage(parts: Sequence[Path]) -> Iterator[None]:
    """Name the part that cannot be read, where reading fails: Arrow does not.

    Raises:
        UserError: with the first such part.
    """
    try:
        yield
    except (pa.ArrowException, OSError, duckdb.InvalidInputException):
        for path in parts:
            read_part(path)
        raise


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from None


def _views(root: Path, tables: dict[str, Path]) -> dict[str, str]:
    """A view's name and its query, for each table that rounds have, and for `this`."""
    rounds: dict[str, list[str]] = defaultdict(list)
    for table, folder in tables.items():
        if in_round := _ROUND.fullmatch(str(folder.relative_to(root))):
            # No name holds a quote (`_name`).
            rounds[_name(in_round[2])].append(f'SELECT {in_round[1]} AS round, * FROM "{table}"')  # noqa: S608
    views = {name: " UNION ALL BY NAME ".join(parts) for name, parts in rounds.items()}
    if "this" in tables:  # by its folder's name as well
        views.setdefault(_name(root.resolve().name), "SELECT * FROM this")
    return {name: select for name, select in views.items() if name not in tables}


def _name(path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", path.lower())
