"""SQL over a run's tables through DuckDB, which reads those parquet files and nothing else."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from contracts.errors import UserError
from contracts.parts import part_paths

# Nothing is fetched or loaded behind the user's back.
_CLOSED = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
_ROUND = re.compile(r"round-(\d+)/(.+)")


def query(folder: Path, sql: str) -> pa.Table:
    """The result of a query over the tables below `folder`.

    Every table is a view under its path (`round_1_pairs`, `round_1_evaluation_scores`); tables
    that each round has are also one view over all rounds, with a column `round` (`pairs`).

    Raises:
        UserError: there is no table, or the query fails; says why.
    """
    root = folder.resolve()
    tables = dict(_tables(root))
    if not tables:
        raise UserError(f"{folder}: no table lies below it")
    with duckdb.connect(":memory:", config=_CLOSED) as connection:
        connection.execute(f"SET allowed_directories=[{_quoted(str(root))}]")
        connection.execute("SET enable_external_access=false")
        for statement in _views(tables):
            connection.execute(statement)
        try:
            return connection.sql(sql).to_arrow_table()
        except (duckdb.Error, AttributeError) as error:
            first = str(error).splitlines()[0] if str(error) else "it gives no rows"
            raise UserError(
                f"--sql: {first}; tables: {', '.join(sorted(map(_name, tables)))}"
            ) from None


def select(folder: Path, where: str | None, sort: str | None, rows: int) -> pa.Table:
    """Rows of the one table in `folder`, filtered by `where` and sorted by `sort`.

    Raises:
        UserError: an expression is not valid.
    """
    sql = "SELECT * FROM this"
    sql += f" WHERE {where}" if where else ""
    if sort:
        sql += f" ORDER BY {sort.removeprefix('-')} {'DESC' if sort.startswith('-') else 'ASC'}"
    return query(folder, f"{sql} LIMIT {rows}")


def _tables(root: Path) -> Iterator[tuple[str, Path]]:
    """Path below `root` ("this" for itself) to each folder of parts."""
    if part_paths(root):
        yield "this", root
    for folder in sorted({path.parent for path in root.rglob("part-*.parquet")} - {root}):
        yield str(folder.relative_to(root)), folder


def _views(tables: dict[str, Path]) -> Iterator[str]:
    # Names come out of `_name`, paths out of `_quoted`: neither can end its literal.
    rounds: dict[str, list[str]] = defaultdict(list)
    for path, folder in tables.items():
        name = _name(path)
        source = _quoted(str(folder / "part-*.parquet"))
        yield f"CREATE VIEW {name} AS SELECT * FROM read_parquet({source})"  # noqa: S608
        if found := _ROUND.fullmatch(path):
            rounds[found[2]].append(f"SELECT {found[1]} AS round, * FROM {name}")  # noqa: S608
    for path, parts in rounds.items():
        if path not in tables:
            yield f"CREATE VIEW {_name(path)} AS {' UNION ALL BY NAME '.join(parts)}"


def _name(path: str) -> str:
    return '"' + re.sub(r"[^a-z0-9]+", "_", path.lower()) + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
