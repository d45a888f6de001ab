"""The commands over what is made already: tables, runs, policies and adapters."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Debug, RunFolder, local_folder


def inspect(
    path: Annotated[
        str,
        typer.Argument(help="A table's folder, a part, a round or a run; or s3://.../round-1."),
    ],
    rows: Annotated[int, typer.Option(min=0, help="Sample rows to show.")] = 3,
    where: Annotated[str | None, typer.Option(help="Filter, e.g. 'margin > 0.2'.")] = None,
    sort: Annotated[str | None, typer.Option(help="Sort; -margin is widest first.")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="All responses to a prompt of a round.")
    ] = None,
    sql: Annotated[str | None, typer.Option(help="Any query over the tables below PATH.")] = None,
    debug: Debug = False,
) -> None:
    """Show rows, schema and a readable sample of any table, or query a run."""
    from flows.explore.tables import View, show
    from runtime.store.address import is_address

    view = View(rows, where, sort, prompt, sql)
    if is_address(path):
        from flows.explore.stored import show_stored

        show_stored(path, view)
    else:
        show(Path(path), view)


def pull(
    run: Annotated[str, typer.Argument(help="The run's name in the store.")],
    *,
    store: Annotated[str, typer.Option(help="s3://bucket/prefix, gs://, az:// or file:///.")],
    into: Annotated[
        Path, typer.Option(help="Folder that holds the runs.", callback=local_folder)
    ] = Path("runs"),
    debug: Debug = False,
) -> None:
    """Fetch what a store has of a run: its config and every finished step."""
    from flows.pipeline.store.pull import pull_run

    typer.echo(pull_run(run, store, into))


def report(
    run_folder: RunFolder,
    *,
    compare: Annotated[
        Path | None, typer.Option(help="Another run's folder: a page with the rounds of both.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a run's report.html and its policies' cards anew, or one page about two runs."""
    from flows.explore.status import status
    from flows.pipeline.console import print_warning

    for folder in filter(None, (run_folder, compare)):
        for line in status(folder).damaged:
            print_warning(f"{folder}/{line}")
    if compare:
        from flows.report.compare import write_comparison

        typer.echo(write_comparison(run_folder, compare))
        return
    from flows.report.redraw import redraw

    typer.echo(redraw(run_folder))


def export(
    source: Annotated[
        Path, typer.Argument(help="A round, or its policy/ folder.", callback=local_folder)
    ],
    target: Annotated[
        Path,
        typer.Argument(help="A new folder for the dataset or the model.", callback=local_folder),
    ],
    push: Annotated[
        str | None, typer.Option(help="Also upload to owner/name on the hub, by HF_TOKEN.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Make what is pushed public.")] = False,
    debug: Debug = False,
) -> None:
    """Write a round's pairs as a dataset in the published layout, or its policy; with a card."""
    from flows.report.cards.export import Push
    from flows.report.cards.export import export as write

    typer.echo(write(source, target, Push(push, not public) if push else None))


def merge(
    adapter: Annotated[Path, typer.Argument(help="A LoRA adapter's folder, as peft writes it.")],
    target: Annotated[Path, typer.Argument(help="A new folder for the whole model.")],
    base: Annotated[
        str | None, typer.Option(help="Model folder or hub id; else the one the adapter names.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Sum a LoRA adapter into its base's weights: a model that loads like any other."""
    from training.adapters.merge import merge as write

    typer.echo(write(adapter, target, base))
