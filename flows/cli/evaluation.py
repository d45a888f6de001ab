"""The commands that look at models and judgements outside a run: `win-rate` and its like."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Debug

Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def win_rate(
    annotations: Annotated[Path, typer.Argument(help="Judgements in the official format.")],
    benchmark: Annotated[
        str, typer.Option(help="Whose format it is: alpaca_eval, arena_hard or mt_bench.")
    ],
    gamed: Annotated[
        Path | None, typer.Option(help="AlpacaEval's df_gamed.csv, for length control.")
    ] = None,
    difficulty: Annotated[
        Path | None, typer.Option(help="AlpacaEval's instruction_difficulty.csv.")
    ] = None,
    instructions: Annotated[
        Path | None, typer.Option(help="The questions, where they are not the benchmark's own.")
    ] = None,
    answers: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="The model's and the baseline's answers, for Arena-Hard's style."),
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples.")] = 1000,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Win rates with intervals, from a file of judgements alone."""
    from evaluation.win_rates.estimate import Resampling
    from flows.cli.win_rate import Files
    from flows.cli.win_rate import win_rate as figures

    files = Files(gamed, difficulty, instructions, answers)
    typer.echo(figures(annotations, benchmark, files, Resampling(resamples), as_json))
