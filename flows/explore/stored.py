"""`onpolicy inspect s3://...`: a table or a run where it lies; only what is shown is fetched."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Column, Table

from contracts.errors import OnPolicyError, UserError
from flows.explore.plain import plain
from flows.explore.sql import CHECKED, matching
from flows.explore.tables import (
    View,
    add_step,
    print_rows,
    refuse_ignored,
    steps_table,
    terminal,
)
from flows.pipeline.planning.step_order import place
from runtime.store.address import address_given, split_address
from runtime.store.finished import MANIFEST, Finished, read_finished
from runtime.store.objects import Objects, arrow_files
from runtime.store.reasons import reason_of

_RUN = "/_run.json"


def show_stored(address: str, view: View) -> None:
    """Print what is known of a step's table, a round or a run in a store, or of all its runs.

    Raises:
        UserError: nothing lies there, or an expression is not valid.
        StoreError: the store does not answer.
    """
    refuse_ignored(view)
    address = address_given("PATH", address)
    if view.sql is not None or view.prompt is not None:
        raise UserError(f"{address}: --sql and --prompt read what is on this machine; pull the "
                        "run first, with `onpolicy pull`")  # fmt: skip
    root, key = split_address(address)
    objects = Objects(root)
    if done := read_finished(objects, key):
        _show_table(terminal(), address, objects, key, done, view)
    elif view.expressions:
        raise UserError(
            f"{address}: {view.expressions[0]} looks into one table; name its folder, e.g. "
            f"{address}/round-1/pairs"
        )
    else:
        _show_folders(terminal(), address, objects, key)


def _show_table(
    console: Console, address: str, objects: Objects, key: str, done: Finished, view: View
) -> None:
    names = sorted(name for name in done.manifest.files if name.endswith(".parquet"))
    if not names:
        raise UserError(f"{address}: a step without a table; `onpolicy pull` fetches its files")
    sizes = objects.sizes(f"{key}/{done.manifest.fingerprint}")
    if lacking := sorted({*names} & {*done.lacking(key, sizes)}):
        raise UserError(
            f"{address}: {lacking[0]} is gone or cut; a machine that has the step pushes it again "
            "when its run is started there"
        )
    bucket = objects.address.partition("://")[2].rstrip("/")
    paths = [f"{bucket}/{done.key(key, name)}" for name in names]
    try:
        dataset = ds.dataset(paths, filesystem=arrow_files(objects.address), format=CHECKED)
        print_rows(console, dataset, _rows(dataset, view), f"{len(names)} part(s), {address}")
    except (pa.ArrowException, OSError) as error:
        raise OnPolicyError(f"{address}: cannot be read ({reason_of(error)})") from None


def _rows(dataset: ds.Dataset, view: View) -> pa.Table:
    if view.expressions:
        return matching(dataset, view.where, view.sort, view.rows)
    return dataset.head(view.rows)


def _show_folders(console: Console, address: str, objects: Objects, key: str) -> None:
    prefix = f"{key}/" if key else ""
    sizes = {name.removeprefix(prefix): size for name, size in objects.sizes(prefix).items()}
    if runs := [name.removesuffix(_RUN) for name in sizes if name.endswith(_RUN)]:
        return console.print(_runs_table(sorted(runs), sizes))
    ends = [f"{prefix}{name}" for name in sizes if name.endswith(f"/{MANIFEST}")]
    if not ends:
        raise UserError(f"{address}: neither a table nor a run lies there")
    table = steps_table()
    for path in sorted((name.removesuffix(f"/{MANIFEST}") for name in ends), key=_order):
        if done := read_finished(objects, path):
            add_step(table, plain(path.removeprefix(prefix)), done.manifest)
    console.print(table)


def _runs_table(runs: Sequence[str], sizes: Mapping[str, int]) -> Table:
    """A line for each run of a store."""
    steps, room = dict.fromkeys(runs, 0), dict.fromkeys(runs, 0)
    for name, size in sizes.items():
        folders = accumulate(name.split("/"), "{}/{}".format)
        if run := next((folder for folder in folders if folder in steps), None):
            steps[run] += name.endswith(f"/{MANIFEST}")
            room[run] += size
    table = Table(Column("run", overflow="fold"), "finished steps", "MiB")
    for run in runs:
        table.add_row(plain(run), f"{steps[run]:,}", f"{room[run] / (1 << 20):,.1f}")
    return table


def _order(path: str) -> tuple[str, int, int, str]:
    return place(Path("/") / path)
