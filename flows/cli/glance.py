"""Commands that show what will run, what runs, and what came out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.options import Debug, RunFolder
from runtime.terminal import terminal_width

Json = Annotated[bool, typer.Option("--json", help="For programs.")]


def status(run_folder: RunFolder, *, as_json: Json = False, debug: Debug = False) -> None:
    """Say how far a run is, by its folder alone: stages, rate, time left, the last error."""
    from flows.explore import status

    told = status.status(run_folder)
    typer.echo(status.as_json(told) if as_json else status.as_text(told, terminal_width()))
    raise typer.Exit(int(bool(told.damaged)))


def plan(
    config: Annotated[Path, typer.Argument(help="A YAML config, e.g. configs/demo.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Dotted overrides, e.g. training.learning_rate=5e-7.")
    ] = None,
    *,
    rate: Annotated[
        list[str] | None, typer.Option(help="A stage's rows a second, e.g. responses=12.5.")
    ] = None,
    prompt_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a prompt, on average.")
    ] = None,
    answer_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of an answer, on average.")
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda"] | None, typer.Option(help="Plan for it; else this machine's.")
    ] = None,
    gpu_gib: Annotated[
        float | None,
        typer.Option(min=1, help="Plan for GPUs of so many GiB: how many samples run at once."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a run will do and take: stages, rows, disk, memory and hours; nothing is begun."""
    from flows.forecast import plan
    from flows.forecast.rates import given_rates
    from flows.forecast.text import as_text
    from flows.pipeline.folder.run_folder import refuse_drift
    from flows.pipeline.load_run import load_run

    settings = load_run(config, overrides or [])
    refuse_drift(settings)
    told = plan.forecast(
        settings, rates=given_rates(rate or []), prompt=prompt_tokens,
        answer=answer_tokens, device=device, gpu_gib=gpu_gib,
    )  # fmt: skip
    typer.echo(plan.as_json(told) if as_json else as_text(told, terminal_width()))


def dry_run(config: Path, overrides: Sequence[str], redo: Sequence[str], until: str | None) -> None:
    """Say what `onpolicy run` would do with the same options."""
    from flows.forecast import plan
    from flows.forecast.text import as_text
    from flows.pipeline.folder.run_folder import refuse_drift
    from flows.pipeline.load_run import load_run

    settings = load_run(config, overrides)
    refuse_drift(settings, redo)
    told = plan.forecast(settings, rates={}, again=redo, until=until)
    typer.echo(as_text(told, terminal_width()))


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


def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="A YAML config; else the machine alone is looked at.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Dotted overrides, e.g. training.learning_rate=5e-7.")
    ] = None,
    *,
    debug: Debug = False,
) -> None:
    """Check this machine, and a config on it; say what to do about each fault."""
    from flows.doctor.diagnosis import as_text, diagnose
    from flows.pipeline.load_run import load_run

    found = [*diagnose(load_run(config, overrides or []) if config else None)]
    typer.echo(as_text(found))
    raise typer.Exit(int(any(one.state == "stop" for one in found)))
