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


def browse(
    run_folder: RunFolder,
    *,
    port: Annotated[
        int, typer.Option(help="Port on loopback; 0 takes any free one.", min=0, max=65535)
    ] = 8765,
    debug: Debug = False,
) -> None:
    """Look through a run's prompts, responses, scores and pairs, in a browser on this machine."""
    from flows.browse.serve import browse as serve

    serve(run_folder, port)
