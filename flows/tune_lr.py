"""`onpolicy tune lr`: a learning-rate range test on a round's pairs, its plot, a suggestion."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow

from contracts.config.base import check, identity
from contracts.errors import OnPolicyError
from contracts.steps.facts import read_facts
from contracts.steps.fingerprint import of_input, of_json
from contracts.steps.lock import folder_lock
from contracts.steps.step import here_of
from contracts.tables.parts import read_table, write_atomic
from flows.on_policy import run_stage
from flows.pipeline.checks.check import refuse_unready
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import claim_together, make_folder, refuse_busy
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.planned_step import PlannedStep
from flows.prefect_ import artifacts
from flows.prefect_.gpus import gpus_held
from flows.prefect_.outage import remembered, run_flow
from flows.prefect_.run_server import ensure_server
from flows.prefect_.stop import refuse_stopped
from flows.report.figures import learning_rates, to_png
from flows.tune.source import Source, read_source
from runtime.signals import interruptible
from training import reference
from training.lr_range.stage import STAGE, LrRangeConfig, LrRangeFacts

PLOT = "learning-rates.png"


@dataclass(frozen=True)
class Asked:
    """The rates to go through; those left out are a hundredth and a hundred times the config's."""

    low: float | None
    high: float | None
    steps: int


def run_lr(path: Path, overrides: Sequence[str], request: Asked) -> list[str]:
    """Run the test unless it is done; the lines that tell of it.

    Raises:
        UserError: there is nothing to train on, or the rates do not grow.
    """
    source = read_source(path, overrides)
    rate = source.changed.training.learning_rate
    low, high = request.low or rate / 100, request.high or rate * 100
    settings = {"low": low, "high": high, "steps": request.steps}
    check(LrRangeConfig, {"training": {}, **settings}, origin="--from, --to, --steps")
    if path.is_file():
        refuse_unready(source.changed, _to_make(source))
    make_folder(source.run)
    with interruptible():
        if path.is_file():
            [claimed] = claim_together([source.run])
            source = replace(source, run=claimed)
        if not _all_done(_until_policy(plan(source.run), source.round)):
            refuse_busy(source.run.folder)
        ensure_server()
        run = source.run.model_dump(mode="json")
        folder = Path(run_flow(tune_lr, run, source.training, source.round, settings))
    return [*_told(source, folder)]


@flow(name="tune-lr", flow_run_name="{config[name]}: learning rates", persist_result=False)
@remembered
def tune_lr(config: dict[str, Any], training: list[str], number: int, rates: dict[str, Any]) -> str:
    """Make the round's pairs if they are not made, and test; the test's folder.

    Args:
        config: the run's config as plain JSON values.
        training: overrides of its training for this test.
        number: the round.
        rates: `low`, `high`, `steps`.
    """
    source = Source(check(RunConfig, config, origin="config"), training, number)
    made_paths = _made(source.run, number)
    *before, policy = _of_round(plan(source.changed), number)
    settings = check(LrRangeConfig, {"training": policy.config.model_dump(), **rates}, "rates")
    folder = _scratch(source, settings, policy)
    inputs = STAGE.reads(policy.inputs)
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder):
        for step in before:
            if step.stage == reference.STAGE and step.path not in made_paths:
                scored = replace(step, run=folder, path="reference")
                _run(scored, source.run)
                inputs = inputs.model_copy(update={"reference": scored.out})
        test = PlannedStep(folder, "rates", "test learning rates", STAGE, settings, inputs)
        _run(test, source.run)
        _publish(test.out)
    artifacts.flush()
    return str(test.out)


def _made(run: RunConfig, number: int) -> set[str]:
    """Make what the test reads of the run; the paths of those steps.

    Raises:
        FolderBusy: something is to be made, and another process is writing to the run's folder.
    """
    steps = [*_until_policy(plan(run), number)]
    alone = nullcontext() if _all_done(steps) else folder_lock(run.folder)
    with alone:
        for step in steps:
            _run(step, run)
    return {step.path for step in steps}


def _all_done(steps: Iterable[PlannedStep]) -> bool:
    return all(step.done for step in steps)


def _to_make(source: Source) -> list[PlannedStep]:
    """What the test has to make, the round's policy in place of the rates."""
    *before, policy = _of_round(plan(source.changed), source.round)
    return [*(step for step in before if not step.done), policy]


def _of_round(steps: Sequence[PlannedStep], number: int) -> list[PlannedStep]:
    """The round's steps up to its policy, this one the last."""
    paths = [step.path for step in steps]
    here = steps[: paths.index(f"round-{number}/policy") + 1]
    return [step for step in here if step.path == "prompts" or step.round == number]


def _until_policy(steps: Sequence[PlannedStep], number: int) -> Iterator[PlannedStep]:
    """What the test reads and the run has not made; those of rounds before are not ours to make."""
    *before, _ = _of_round(steps, number)
    formatted = any(step.done for step in before if step.path == f"round-{number}/tokens")
    for step in before:
        if not formatted or step.stage == reference.STAGE:
            yield step


def _run(step: PlannedStep, run: RunConfig) -> None:
    with nullcontext() if step.done else gpus_held(run):
        refuse_stopped(run_stage.with_options(name=step.label, task_run_name=step.title)(step))


def _scratch(source: Source, settings: LrRangeConfig, policy: PlannedStep) -> Path:
    """A folder beside the run's, which stays as it is; the same test finds it again."""
    inputs = STAGE.reads(policy.inputs)
    read = {"tokens": of_input(str(inputs.tokens)), "policy": of_input(inputs.policy)}
    content = of_json([identity(settings), here_of(STAGE, settings), read])[:6]
    return source.run.runs_dir / f"{source.run.name}-tune-lr-{content}"


def _publish(folder: Path) -> None:
    """Write the plot and show it in the UI."""
    plot = to_png(learning_rates(read_table(folder), _facts(folder)))
    write_atomic(folder / PLOT, plot)
    artifacts.publish_plot(folder.parent, "Learning-rate range test", plot)


def _told(source: Source, folder: Path) -> Iterator[str]:
    facts = _facts(folder)
    yield f"{source.run.name}, round {source.round}: {facts.steps} steps, {folder / PLOT}"
    for rate, text in (
        (facts.steepest, "the smoothed loss falls fastest"),
        (facts.lowest, "it is lowest"),
        (facts.diverges, "it is above its start again"),
    ):
        if rate:
            yield f"  {rate:.1e}  {text}"
    yield from (f"  {reason}" for reason in facts.reasons)
    if facts.suggestion:
        yield f"training.learning_rate={facts.suggestion:.1e}"


def _facts(folder: Path) -> LrRangeFacts:
    facts = read_facts(folder, LrRangeFacts)
    if facts is None:
        raise OnPolicyError(f"{folder}: the test ended without a manifest")
    return facts
