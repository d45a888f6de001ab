"""The flow: rounds of sample, score, pair, train, evaluate, a Prefect task per stage.

Prefect orders, retries and shows. What is done is decided by manifests alone
(contracts.steps.step), so its caching is off: its default key holds the run id and never hits
across runs.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from contracts.config.base import check
from contracts.errors import ConfigDrift, FolderBusy, UserError
from contracts.steps.lock import folder_lock
from evaluation import gate
from evaluation.gates.answers import Question, read_question, write_answer
from flows.pipeline import stage_ahead
from flows.pipeline.checks.check import refuse_unready
from flows.pipeline.checks.enough_prompts import refuse_empty_round
from flows.pipeline.config import RunConfig
from flows.pipeline.console import print_done, print_warning, step_line
from flows.pipeline.folder.old_states import remove_old_states
from flows.pipeline.folder.progress import StepRecord, record_plan, record_start
from flows.pipeline.folder.prune import prune_quietly
from flows.pipeline.folder.run_folder import (
    claim_run,
    make_folder,
    refuse_drift,
    steps_left,
)
from flows.pipeline.load_run import load_run
from flows.pipeline.log_lines import finished_line, leveled
from flows.pipeline.planning.gates import ask, asked_by, asks, question_line
from flows.pipeline.planning.next_steps import next_steps, planned_anew, with_next
from flows.pipeline.planning.plan import GATE, plan
from flows.pipeline.planning.plan_evaluation import VERDICT
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.preload import preload
from flows.pipeline.run_step import run_step
from flows.pipeline.store.run_store import WithoutStore, storing
from flows.prefect_ import artifacts, webhook
from flows.prefect_.deployed import deployment_id
from flows.prefect_.gate import flow_run_id, is_resumed, wait, wake_at
from flows.prefect_.gpus import gpus_held
from flows.prefect_.names import rounds_left
from flows.prefect_.outage import remembered
from flows.prefect_.schedule import skipped
from flows.prefect_.stop import STOPS, refuse_stopped, stopped
from flows.report import plots_beside
from flows.report.cards.model_card import write_model_card
from flows.report.html import is_reported, write_report
from flows.report.run_data import RoundData
from generation import prompts
from runtime.lean_imports import spare_pandas
from runtime.progress import Reading
from training import train


@flow(
    name="on-policy",
    flow_run_name=rounds_left,
    persist_result=False,
    on_failure=[webhook.tell_failed],
    on_crashed=[webhook.tell_crashed],
)
@remembered
def on_policy(
    config: dict[str, Any] | str,
    next_round: bool = False,
    redo: Sequence[str] = (),
    until: str | None = None,
) -> str | State[None]:
    """Run every stage of every round that is not done yet; the report's path.

    Under a deployment, a run that goes on elsewhere is skipped: the flow run is Completed, by the
    name of Skipped.

    Args:
        config: a run's config (`flows.pipeline.config.RunConfig`) as plain JSON values, or the path
            of its YAML file where the flow runs.
        next_round: add a round to the run if all of its rounds are done, e.g. on a schedule.
        redo: stages to make anew, with all that reads from them, e.g. `pairs`.
        until: the stage to end after, e.g. `round-2/pairs`; the last, unless given.
    """
    settings = (
        load_run(Path(config), [])
        if isinstance(config, str)
        else check(RunConfig, config, origin="config")
    )
    make_folder(settings)
    with ExitStack() as held:
        try:
            _lock(settings, held)
        except FolderBusy as busy:
            if not deployment_id():
                raise
            return skipped(busy)  # a schedule's next time, and the last one is not done
        _take_answer(settings)
        if deployment_id():  # else whoever called has looked already
            left = steps_left(settings, redo, next_round, until)
            preload(left)
            refuse_unready(settings, left)
        held.enter_context(gpus_held(settings))
        held.callback(plots_beside.stop)
        held.callback(stage_ahead.stop)
        _make(settings, next_round, redo, until)
    artifacts.flush()
    return str(settings.folder / "report.html")


def _lock(settings: RunConfig, held: ExitStack) -> None:
    """Hold the run's folder. A flow run that comes with an answer waits for it: where any other one
    is skipped, it would lose that.

    Raises:
        FolderBusy: another process writes there.
    """
    while True:
        try:
            held.enter_context(folder_lock(settings.folder))
        except FolderBusy:
            if not asked_by(settings, flow_run_id()):
                raise
        else:
            return


def _make(settings: RunConfig, next_round: bool, redo: Sequence[str], until: str | None) -> None:
    """Claim the run, and make each step that is not done."""
    spare_pandas()  # the first table shown of a step would import it
    with storing(settings) as store:
        store.begin(settings, redo)
        settings = claim_run(settings, next_round, redo)
        store.claimed(settings)
        record_start(settings.folder)
        record_plan(settings.folder, plan(settings))
        _prune(settings)  # the last start may have been killed before it came to it
        for step, following in with_next(next_steps(settings, until)):
            if asks(step, settings) and not _is_answered(step, settings):
                break
            if step.stage is gate.STAGE:
                step = planned_anew(step, settings)
            is_old = step.done is not None
            _run(step, following, settings, store)
            if step.stage is prompts.STAGE:
                _tell_short(settings, until)
            if step.stage is gate.STAGE and not is_old:
                record_plan(settings.folder, plan(settings))
                decided = RoundData(step.out.parent)
                webhook.post("gate", settings.name, f"{decided.name}: {decided.gate_line}")
            if step.stage is train.STAGE:
                store.dropped(remove_old_states(settings, step.round))
                if step.round % settings.evaluation.every == 0:
                    plots_beside.begin(step.out.parent)
            if step.label == (GATE if settings.gate_rules else VERDICT):
                _report(step)
            if step.stage in (train.STAGE, gate.STAGE) and not is_old:
                _prune(settings)


def _prune(settings: RunConfig) -> None:
    """After each training, since only some rounds may be evaluated; and once a gate has decided."""
    if freed := prune_quietly(settings):
        print_warning(freed)


def _tell_short(settings: RunConfig, until: str | None) -> None:
    """Before the first round is sampled: what its prompts come to is known only now."""
    if short := refuse_empty_round(settings, steps_left(settings, until=until)):
        get_run_logger().warning("%s", short)
        print_warning(str(short))


def _run(
    step: PlannedStep, following: PlannedStep | None, settings: RunConfig, store: WithoutStore
) -> None:
    try:
        store.fetch(step)
        with store.watching(step):
            refuse_stopped(_as_task(step, settings)(step, following))
    except ConfigDrift:  # a stage that was made anew came out other: tell all that read it
        refuse_drift(settings)
        raise
    store.push(step)


def _report(step: PlannedStep) -> None:
    if not is_reported(step.run / f"round-{step.round}"):
        report_task(step.run, step.round)


def _is_answered(step: PlannedStep, settings: RunConfig) -> bool:
    """Ask what is to follow, with the report at hand; whether the run may go on.

    Under a deployment the flow run that asks is suspended, and comes here again with the answer;
    any other one ends here. So does a plain run, whose command says how to answer.
    """
    _report(step)
    artifacts.flush()
    folder, me = step.out.parent, flow_run_id()
    before = read_question(folder)
    if before and me and before.flow_run != me and is_resumed(before.flow_run):
        get_run_logger().warning("%s: is answered; flow run %s goes on", folder, before.flow_run)
        return False
    question = ask(folder, settings, me)
    if question and before is None:
        webhook.post("gate", settings.name, question_line(folder, question))
    if question and me and question.flow_run == me:
        _wait(folder, question)
        return True
    if question:
        get_run_logger().warning("%s", question_line(folder, question))
    return question is None


def _take_answer(settings: RunConfig) -> None:
    """Record what this flow run comes back with: first of all, so that nothing that fails, and no
    time that has run out on its way here, can lose it."""
    if asked := asked_by(settings, flow_run_id()):
        _wait(*asked)


def _wait(folder: Path, question: Question) -> None:
    """Suspend this flow run; on its second way through, record the answer."""
    if not question.is_over:
        wake_at(question)
    answer = wait(folder, question)
    write_answer(folder, answer.decision, answer.who or "Prefect's UI", answer.why)


def _as_task(step: PlannedStep, config: RunConfig) -> Any:
    """The task under the step's own name, so that the UI reads as the pipeline."""
    return run_stage.with_options(
        name=step.label,
        task_run_name=step.title,
        retries=config.resources.retries,
        retry_delay_seconds=config.resources.retry_delay,
        retry_condition_fn=_is_failure,
    )


@task(cache_policy=NO_CACHE, persist_result=False)
def run_stage(step: PlannedStep, following: PlannedStep | None = None) -> State[None] | None:
    """Run one step in a subprocess, with its log lines and its progress in the Prefect run."""
    logger = get_run_logger()
    is_old = step.done is not None
    progress, record = artifacts.StepProgress(step), StepRecord(step)
    with step_line(step.title) as bar:

        def on_progress(reading: Reading) -> None:
            bar.update(reading)
            progress.publish(reading)
            record.update(reading)

        def on_line(line: str) -> None:
            logger.log(*leveled(line))

        try:
            manifest = run_step(step, on_line, on_progress, following)
        except STOPS as stop:
            return stopped(stop)
        except Exception as error:
            record.fail(error)
            raise
    logger.info("%s", finished_line(manifest))
    print_done(step.title, manifest, is_old)
    for package in manifest.mixed:
        print_warning(f"{step.title}: a package changed while it was made: {package}")
    if not is_old:
        artifacts.publish_step(step, manifest)
        progress.publish_nodes()
    return None


@task(name="write report", task_run_name="round {number}: write report", cache_policy=NO_CACHE)
def report_task(folder: Path, number: int) -> None:
    """Write `report.html` and the policy's card, publish the round's plots."""
    plots_beside.wait()
    data = RoundData(folder / f"round-{number}")
    write_report(folder)
    for sign in data.signs:
        get_run_logger().warning(sign)
        print_warning(sign)
    try:
        write_model_card(data, data.folder / "policy")
        artifacts.publish_round(data)
    except UserError as error:  # an old table that is gone or damaged ends no run
        print_warning(f"{data.name} is not shown: {error}")
    artifacts.publish_run(folder)


def _is_failure(_task: Any, _run: Any, state: Any) -> bool:
    """A wrong config stays wrong: only failures are tried again."""
    return not isinstance(state.result(raise_on_failure=False), UserError)
