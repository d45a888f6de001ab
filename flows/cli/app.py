"""The `onpolicy` command. It parses first and imports the heavy parts when they are needed."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli import glance, made
from flows.cli.evaluation import evaluate_reward_model, judge, reward_win_rate, win_rate
from flows.cli.options import Debug, RunFolder, local_folder
from flows.cli.tune import app as tune_app
from runtime.signals import end_at_once

app = typer.Typer(
    help="On-policy preference data and alignment: sample, score, pair, train, evaluate, repeat.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(tune_app, name="tune")
app.command()(glance.doctor)
app.command()(glance.plan)
app.command()(glance.status)
app.command()(glance.browse)
app.command()(win_rate)
app.command()(judge)
app.command()(evaluate_reward_model)
app.command()(reward_win_rate)

ConfigPath = Annotated[Path, typer.Argument(help="A YAML config, e.g. configs/demo.yaml.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Dotted overrides, e.g. training.learning_rate=5e-7.")
]


@app.command()
def run(
    config: ConfigPath,
    overrides: Overrides = None,
    *,
    redo: Annotated[
        list[str] | None,
        typer.Option(
            help="Make a stage anew, and all that reads from it: pairs, or round-2/pairs."
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(help="End after a stage: pairs (the first round's), or round-2/pairs."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would do, as `plan`.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Run every stage of every round that is not done yet; run it again to go on."""
    if dry_run:
        glance.dry_run(config, overrides or [], redo or [], until)
        return
    from flows.cli.run import run_config

    run_config(config, overrides or [], redo or [], until)


@app.command()
def check(config: ConfigPath, overrides: Overrides = None, *, debug: Debug = False) -> None:
    """Look at all that can be known before a run: names, files, models, functions, disk."""
    from flows.cli.run import check_config

    typer.echo(check_config(config, overrides or []))


@app.command()
def decide(
    run_folder: RunFolder,
    round_name: Annotated[str, typer.Argument(metavar="ROUND", help="E.g. round-2.")],
    action: Annotated[
        Literal["promote", "stop", "last_good"],
        typer.Argument(help="Begin the next round from its policy, end, or go back."),
    ],
    *,
    why: Annotated[str, typer.Option(help="Kept beside the decision.")] = "",
    by: Annotated[str | None, typer.Option(help="Who decides; else this machine's user.")] = None,
    debug: Debug = False,
) -> None:
    """Say what follows a round, where its gate asks, or has decided otherwise."""
    from flows.pipeline.planning.gates import decide as answer

    typer.echo(answer(run_folder, round_name, action, by, why))


@app.command()
def prune(
    run_folder: RunFolder,
    *,
    keep: Annotated[int, typer.Option(min=1, help="Last rounds whose policies stay.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    debug: Debug = False,
) -> None:
    """Free old rounds' weights that no later step, resume or gate can ask for."""
    from flows.pipeline.folder.prune import prune as free

    typer.echo(free(run_folder, keep, dry_run))


@app.command()
def schedule(
    config: ConfigPath,
    overrides: Overrides = None,
    *,
    cron: Annotated[str | None, typer.Option(help="When, in UTC, e.g. '0 2 * * *'.")] = None,
    every: Annotated[str | None, typer.Option(help="How often, e.g. 30m, 6h, 1d.")] = None,
    next_round: Annotated[
        bool, typer.Option(help="Add a round each time that the run is finished.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Serve the flow as a Prefect deployment that runs on a schedule."""
    from flows.cli.run import serve_config

    serve_config(config, overrides or [], cron, every, next_round)


@app.command()
def server(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 4200,
    debug: Debug = False,
) -> None:
    """Start a Prefect server that stays, for schedules and the UI; it phones nobody."""
    from flows.prefect_.standing_server import serve

    serve(host, port)


@app.command()
def sweep(
    config: ConfigPath,
    overrides: Overrides = None,
    *,
    grid: Annotated[list[str], typer.Option(help="key=value,value; give it once a key.")],
    debug: Debug = False,
) -> None:
    """Run every combination of a grid, each as a run of its own, and compare them."""
    from flows.prefect_ import settings

    settings.apply()
    from flows.sweep import run_sweep

    typer.echo(f"Comparison: {run_sweep(config, overrides or [], grid)}")


@app.command()
def evaluate(
    policies: Annotated[
        list[str],
        typer.Argument(help="Model folders, hub ids or LoRA adapters; then key=value overrides."),
    ],
    *,
    against: Annotated[
        str | None, typer.Option(help="The policy to compare with; it is asked too.")
    ] = None,
    benchmarks: Annotated[
        str | None, typer.Option(help="Names, e.g. alpaca_eval,arena_hard,mt_bench,gsm8k.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A run's config: its benchmarks, engine, judges.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the answers.", callback=local_folder)] = Path(
        "evaluations"
    ),
    debug: Debug = False,
) -> None:
    """Answer benchmarks with any policies; exact scores, and win rates by the config's judges."""
    from flows.cli.evaluate import run

    typer.echo(run(policies, against, benchmarks, config, out))


for command in (made.inspect, made.pull, made.report, made.export, made.merge):
    app.command()(command)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a run's config, for editors."""
    import json

    from contracts.json_schema import Described
    from flows.pipeline.config import RunConfig

    schema = RunConfig.model_json_schema(schema_generator=Described)
    typer.echo(json.dumps(schema, indent=1))


def main() -> None:
    """Entry point: exit code 0 done, 2 the user's mistake, 3 a gate waits, 1 a failure."""
    end_at_once()
    code = _run()
    outage = sys.modules.get("flows.prefect_.outage")
    if outage and outage.Server.gone:
        # At its end Prefect tries each event and log line once more, 7 s apiece.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    try:
        app()
    except SystemExit as ended:  # as typer ends
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except Exception as error:
        if os.environ.get("ONPOLICY_DEBUG") == "1":
            raise
        from runtime.stage_process import describe, exit_code

        typer.echo(f"onpolicy: {describe(error)}", err=True)
        return exit_code(error)
    return 0


if __name__ == "__main__":
    main()
