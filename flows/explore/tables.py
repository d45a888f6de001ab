"""`onpolicy inspect`: rows, schema and a readable sample of any table of a run."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Column, Table

from contracts.errors import UserError
from contracts.steps.files import changed_files
from contracts.steps.fingerprint import refuse_not_whole
from contracts.steps.manifest import Manifest, read_manifest
from contracts.tables.parts import part_paths
from flows.explore.plain import plain
from flows.explore.prompt_view import show_prompt
from flows.explore.sql import matching_rows, naming_damage, open_parts, query
from flows.pipeline.planning.step_order import place

_PIPE_WIDTH = 140
_LONGEST_TEXT = 600
_LONGEST_LIST = 12


@dataclass(frozen=True)
class View:
    """What of a table is to be seen."""

    rows: int = 3
    where: str | None = None
    sort: str | None = None
    prompt: str | None = None
    sql: str | None = None

    @property
    def expressions(self) -> list[str]:
        """The options given that choose rows of one table."""
        given = {"--where": self.where, "--sort": self.sort}
        return [option for option, value in given.items() if value is not None]


def terminal() -> Console:
    """Where it is shown. On a pipe rich assumes 80 columns, and cuts the folders' names."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(soft_wrap=True, highlight=False, width=width)


def show(path: Path, view: View) -> None:
    """Print what is known of a table, a part, a round or a whole run.

    Raises:
        UserError: there is nothing to read at `path`, or an expression is not valid.
    """
    console = terminal()
    refuse_ignored(view)
    if view.sql is not None:
        _print_table(console, query(path, view.sql))
    elif view.prompt is not None:
        show_prompt(console, path, view.prompt)
    elif path.is_dir() and not _parts(path):
        if view.expressions:
            raise UserError(
                f"{path}: {view.expressions[0]} looks into one table; name its folder, e.g. "
                f"{path}/round-1/pairs"
            )
        _show_folders(console, path)
    else:
        _show_table(console, path, view)


def refuse_ignored(view: View) -> None:
    """Refuse options that would be ignored beside each other, and empty ones.

    Raises:
        UserError: names the options.
    """
    given = {"--sql": view.sql, "--prompt": view.prompt}
    alone = [option for option, value in given.items() if value is not None]
    if len(alone + view.expressions) > 1 and alone:
        raise UserError(f"{' and '.join(alone + view.expressions)} do not go together; give one")
    if view.sort is not None and not view.sort.strip("- "):
        raise UserError("--sort: give a column, e.g. --sort margin, or --sort=-margin for the "
                        "highest first")  # fmt: skip
    if view.where is not None and not view.where.strip():
        raise UserError('--where: give a condition, e.g. --where "margin > 0.5"')


def _print_table(console: Console, result: pa.Table) -> None:
    table = Table(*map(plain, result.column_names))
    for row in result.to_pylist():
        table.add_row(*(plain(_readable(value)) for value in row.values()))
    console.print(table)


def _parts(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return part_paths(path) or sorted(path.glob("*.parquet"))


def _show_folders(console: Console, path: Path) -> None:
    """A run, or a folder of stages: one line a stage, and what is amiss with any of them."""
    manifests = sorted(path.rglob("_manifest.json"), key=lambda file: place(file.parent))
    if not manifests:
        raise UserError(f"{path}: neither a table nor a run (no parquet, no manifest below it)")
    table = steps_table()
    faults = []
    for file in manifests:
        where = plain(str(file.parent.relative_to(path)))
        try:
            manifest = read_manifest(file.parent)
        except UserError as error:
            table.add_row(where, "damaged", "", "", "")
            faults.append(str(error))
            continue
        if manifest:
            add_step(table, where, manifest)
            faults += _damage(file.parent, manifest)
    console.print(table)
    _warn(console, faults)


def steps_table() -> Table:
    """A table with a line for each finished step."""
    # Cut, the folders of a round would look alike.
    folder, stage = (Column(name, overflow="fold") for name in ("folder", "stage"))
    return Table(folder, stage, "rows", "dropped", "time")


def add_step(table: Table, where: str, manifest: Manifest) -> None:
    """Add a step's line."""
    dropped = ", ".join(f"{n:,} {why}" for why, n in manifest.dropped.items())
    table.add_row(where, manifest.stage, f"{manifest.rows:,}", dropped, manifest.took)


def _damage(folder: Path, manifest: Manifest | None) -> list[str]:
    """What is no longer as the stage in `folder` left it, if anything; one message."""
    if manifest is None:
        return []
    try:
        refuse_not_whole(folder, changed_files(folder, manifest.files, manifest.sizes))
    except UserError as error:
        return [str(error)]
    return []


def _warn(console: Console, faults: Sequence[str]) -> None:
    for fault in faults:
        console.print(f"[yellow]warning[/]: {plain(fault)}")


def _show_table(console: Console, path: Path, view: View) -> None:
    parts = _parts(path)
    if not parts:
        raise UserError(f"{path}: no such file or folder")
    if path.is_file() and path.suffix != ".parquet":
        raise UserError(f"{path}: is no parquet file, and only these are read")
    dataset = open_parts(parts)
    with naming_damage(parts):
        shown = _rows_of(dataset, parts, view)
    if path.is_dir():
        try:
            _warn(console, _damage(path, read_manifest(path)))
        except UserError as error:  # its manifest alone
            _warn(console, [str(error)])
    print_rows(console, dataset, shown, f"{len(parts)} part(s), {path}")


def print_rows(console: Console, dataset: ds.Dataset, shown: pa.Table, where: str) -> None:
    """Print a table's size, its schema and the rows that are `shown`."""
    total = dataset.count_rows()
    metadata = dataset.schema.metadata or {}
    name = metadata.get(b"table", b"table").decode()
    console.print(f"[bold]{plain(name)}[/]: {total:,} rows in {plain(where)}")
    columns = Table("column", "type", "what it is")
    for field in dataset.schema:
        doc = (field.metadata or {}).get(b"doc", b"").decode()
        kind = f"{field.type}{'?' if field.nullable else ''}"
        columns.add_row(plain(field.name), plain(_short_type(field.type, kind)), plain(doc))
    console.print(columns)
    for index, row in enumerate(shown.to_pylist()):
        console.print(f"[bold]row {index}[/]")
        for key, value in row.items():
            console.print(f"  [cyan]{plain(key)}[/]: {plain(_readable(value))}")


def _rows_of(dataset: ds.Dataset, parts: Sequence[Path], view: View) -> pa.Table:
    if view.expressions:
        return matching_rows(parts, view.where, view.sort, view.rows)
    return dataset.head(view.rows)


def _short_type(kind: pa.DataType, text: str) -> str:
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        return "messages"
    return text if len(text) < 40 else text[:37] + "..."


def _readable(value: Any) -> str:
    """Conversations as turns, long lists and texts cut with a mark."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and "role" in value[0]:
        return "".join(f"\n    <{turn['role']}> {_cut(turn['content'])}" for turn in value)
    if isinstance(value, list) and len(value) > _LONGEST_LIST:
        shown = ", ".join(str(item) for item in value[:_LONGEST_LIST])
        return f"[{shown}, ... {len(value):,} in all]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return _cut(str(value))


def _cut(text: str) -> str:
    return (
        text
        if len(text) <= _LONGEST_TEXT
        else text[:_LONGEST_TEXT] + f" ... ({len(text):,} characters)"
    )
