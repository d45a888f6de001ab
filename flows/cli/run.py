"""What `onpolicy run` and `onpolicy schedule` do once the config is read."""

import time
from collections.abc import Sequence
from pathlib import Path

from contracts.durations import in_words
from contracts.errors import AwaitsAnswer
from contracts.steps.step import is_begun
from flows.pipeline.checks.check import Looking, refuse_unready, summary
from flows.pipeline.checks.worth_knowing import rounds_without, unasked_judges
from flows.pipeline.config import MOST_ROUNDS, RunConfig
from flows.pipeline.console import console, print_warning
from flows.pipeline.folder.run_folder import (
    is_finished,
    made_anew,
    make_folder,
    refuse_busy,
    refuse_drift,
    settled,
    steps_left,
)
from flows.pipeline.load_run import load_run
from flows.pipeline.planning.gates import stopped_line, waiting
from flows.pipeline.planning.lineage import stopped_after
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.preload import preload
from flows.pipeline.store.adopt import adopt_first
from flows.pipeline.store.run_store import push_finished
from flows.prefect_ import settings
from flows.prefect_.run_server import ensure_server
from runtime.signals import interruptible

_SHOWN_STEPS = 5


def run_config(
    path: Path, overrides: Sequence[str], redo: Sequence[str] = (), until: str | None = None
) -> None:
    """Run what a config describes, with the stages of `redo` made anew, as far as the stage
    `until`; say where the report is."""
    config = load_run(path, overrides)
    adopt_first(config, redo)
    again = made_anew(config, redo)
    if not config.folder.is_dir():
        make_folder(config)
    refuse_drift(config, redo)
    if again:
        _say_anew(config, again)
    elif _is_over(config, until):
        push_finished(config)
        return
    _warn([*unasked_judges(config), *rounds_without(config)])
    make_folder(config)
    refuse_busy(config.folder)
    left = steps_left(config, redo, until=until)
    preload(left)
    looking = Looking(config, left)
    settings.apply()
    from flows.on_policy import on_policy
    from flows.prefect_.outage import run_flow

    rounds = settled(config).rounds  # a schedule may have added some
    counted = f"{rounds} round{'' if rounds == 1 else 's'}"
    console.print(f"{config.name}: {counted} from {config.policy.path}")
    started = time.monotonic()
    with interruptible():
        ensure_server()
        looking.refuse()
        run_flow(on_policy, config.model_dump(mode="json"), redo=list(redo), until=until)
    _say_ended(config, until)
    _say_gain(config, time.monotonic() - started)


def _warn(lines: Sequence[str]) -> None:
    for line in lines:
        print_warning(line)


def _say_anew(config: RunConfig, again: Sequence[PlannedStep]) -> None:
    if there := [step.path for step in again if is_begun(step.out)]:
        console.print(f"{config.name}: to be made anew: {', '.join(there)}")


def _is_over(config: RunConfig, until: str | None) -> bool:
    """Whether there is nothing to run; says so.

    Raises:
        AwaitsAnswer: its gate asks, and nobody has answered.
        UserError: `until` names no stage.
    """
    left = steps_left(config, until=until)
    report = config.folder / "report.html"
    if is_finished(config):
        console.print(f"{config.name}: every stage is done, nothing to run. Report: {report}")
        _say_stopped(config)
        return True
    if until and not left:
        _say_left(config, until)
        return True
    if question := waiting(settled(config)):
        push_finished(config)  # the answer may be days away, and this machine gone by then
        raise AwaitsAnswer(question)
    return False


def _say_ended(config: RunConfig, until: str | None) -> None:
    """
    Raises:
        AwaitsAnswer: it has ended at a gate that asks.
    """
    if (report := config.folder / "report.html").exists():
        console.print(f"Report: {report}")
    if question := waiting(settled(config)):
        raise AwaitsAnswer(question)
    if until and not stopped_line(settled(config)):
        _say_left(config, until)
    else:
        _say_stopped(config)


def _say_gain(config: RunConfig, seconds: float) -> None:
    """The last line: what the last evaluated round has gained, and how long this start took.

    Rounds that lie after a gate's stop, made before a person overruled it, are no part of the run.
    """
    from flows.report.run_data import finished_rounds

    gains, last = "", stopped_after(settled(config)) or MOST_ROUNDS
    finished = finished_rounds(config.folder)
    if rounds := [data for data in finished if data.number <= last]:
        told = [
            f"{over.mean:+.4f} ({over.low:+.4f} to {over.high:+.4f}) by {name}"
            for name, gain in rounds[-1].gains.items()
            for over in [gain.over_before]
        ]
        gains = f"{rounds[-1].name} gained {', '.join(told)}; "
    console.print(f"{config.name}: {gains}{in_words(seconds)} in all")


def _say_left(config: RunConfig, until: str) -> None:
    left = [step.path for step in steps_left(config)]
    told = f"; left: {', '.join(left[:_SHOWN_STEPS])}" if left else ""
    more = f" and {len(left) - _SHOWN_STEPS} more" if left[_SHOWN_STEPS:] else ""
    console.print(f"{config.name}: done until {until}{told}{more}. Without --until it goes on.")


def _say_stopped(config: RunConfig) -> None:
    if line := stopped_line(settled(config)):
        console.print(line)


def check_config(path: Path, overrides: Sequence[str]) -> str:
    """Look at all that `run_config` looks at first, start nothing, write nothing.

    Raises:
        UserError: names all that is amiss.
    """
    config = load_run(path, overrides)
    refuse_drift(config)
    refuse_unready(config)
    return summary(config)


def serve_config(
    path: Path, overrides: Sequence[str], cron: str | None, every: str | None, next_round: bool
) -> None:
    """Serve the flow on a schedule until it is stopped.

    Raises:
        UserError: its times cannot be read, there is no server that stays, or a schedule of the
            run is served already.
    """
    config = load_run(path, overrides)
    settings.apply()
    from flows.on_policy import on_policy
    from flows.prefect_ import schedule

    when = schedule.times(cron, every)
    schedule.refuse_unserved()
    refuse_unready(config, steps_left(config, next_round=next_round))
    _warn(unasked_judges(config))
    make_folder(config)
    parameters = {"config": config.model_dump(mode="json"), "next_round": next_round}
    with schedule.only_one(config.folder), interruptible():
        console.print(f"Serving {config.name} {when}; stop with Ctrl-C.")
        schedule.serve(on_policy, config.name, when, parameters)
