"""Commands that show what will run, what runs, and what came out."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Debug

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
RunFolder = Annotated[Path, typer.Argument(help="A run's folder.")]


def status(run_folder: RunFolder, *, as_json: Json = False, debug: Debug = False) -> None:
    """Say how far a run is, by its folder alone: stages, rate, time left, the last error."""
    from flows.explore import status

    told = status.status(run_folder)
    typer.echo(status.as_json(told) if as_json else status.as_text(told))
