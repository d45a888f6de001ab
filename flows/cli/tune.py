"""`onpolicy tune`: its commands. Heavy parts are imported when a command runs."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import Debug

app = typer.Typer(help="Find a learning rate, scale with the batch, size LoRA.")

SourcePath = Annotated[
    Path, typer.Argument(help="A run, a round of it, or a config, e.g. runs/demo/round-1.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Dotted overrides, e.g. training.global_batch=64.")
]


@app.command()
def lr(
    source: SourcePath,
    overrides: Overrides = None,
    *,
    low: Annotated[
        float | None, typer.Option("--from", help="First rate.  [default: config's / 100]")
    ] = None,
    high: Annotated[
        float | None, typer.Option("--to", help="Last rate.  [default: config's * 100]")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimizer steps, each at a higher rate.")] = 60,
    debug: Debug = False,
) -> None:
    """Learning-rate range test: train with a growing rate, plot the loss, suggest a rate."""
    from flows.prefect_ import settings

    settings.apply()
    from flows.tune_lr import Asked, run_lr

    _say(run_lr(source, overrides or [], Asked(low, high, steps)))


@app.command()
def batch(
    source: SourcePath,
    size: Annotated[int, typer.Argument(help="The new global batch.")],
    rule: Annotated[str, typer.Option(help="sqrt (Adam) or linear (SGD).")] = "sqrt",
    pairs: Annotated[
        int | None, typer.Option(help="Rows of the tokens, where no run has them.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Learning rate, warm-up and steps for another global batch."""
    from flows.tune.advice import scale

    _say(scale(source, size, rule, pairs))


@app.command()
def lora(source: SourcePath, overrides: Overrides = None, debug: Debug = False) -> None:
    """LoRA's rank, alpha and learning rate for the size of the config's policy."""
    from flows.tune.advice import lora as advise

    _say(advise(source, overrides or []))


@app.command()
def check(source: SourcePath, overrides: Overrides = None, debug: Debug = False) -> None:
    """What experience says of a config before it runs."""
    from flows.tune.advice import check as advise

    _say(advise(source, overrides or []))


def _say(lines: list[str]) -> None:
    typer.echo("\n".join(lines))
