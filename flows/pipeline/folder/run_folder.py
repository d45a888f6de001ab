"""A run's folder: whose it is, whether everything in it is done, what of it is made anew."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contracts.config.base import identity
from contracts.config.yaml import dump_yaml
from contracts.errors import UserError
from contracts.steps.disk_space import refuse_unwritable
from contracts.steps.fingerprint import of_json
from contracts.steps.lock import folder_lock
from contracts.steps.step import config_changes
from contracts.tables.parts import write_atomic
from flows.pipeline.config import MOST_ROUNDS, RunConfig
from flows.pipeline.folder import drift, redo
from flows.pipeline.folder.claimed import all_fixed, as_claimed, fixed, with_keys
from flows.pipeline.folder.progress import forget_step
from flows.pipeline.folder.recorded import recorded
from flows.pipeline.planning.lineage import stopped_after
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.planning.until import steps_until

# Says where the run lies, or how far it goes; no step's own record could tell.
_FREE = {"rounds", "runs_dir"}


def make_folder(config: RunConfig) -> None:
    """Make the run's folder, if it is not there, before anything is started.

    Raises:
        UserError: it cannot be made, or nothing can be written in it.
    """
    refuse_unwritable(config.folder, "set `runs_dir` to a folder of your own")


def refuse_busy(folder: Path) -> None:
    """Refuse a run that another live process works on, before anything slow is begun.

    Raises:
        FolderBusy: another live process writes to `folder`; told before anything slow is begun.
    """
    with folder_lock(folder):
        pass


def settled(config: RunConfig) -> RunConfig:
    """The config with what its folder has settled already: what was fixed as the run was claimed
    (flows.pipeline.folder.claimed), and its rounds, which are never taken back. A judge that it
    knows nothing of is asked where its key is there, as its claim will have it."""
    if made_by := recorded(config.folder):
        rounds = max(config.rounds, made_by.rounds)
        config = as_claimed(config.model_copy(update={"rounds": rounds}), made_by)
    return with_keys(config)


def is_finished(config: RunConfig) -> bool:
    """Whether every step of the run is done and its report is written; reads only.

    Raises:
        ConfigDrift: a step was made by another config or from other inputs.
    """
    if not (config.folder / "config.yaml").exists():
        return False
    refuse_drift(config)
    if redo.recorded(config.folder) or not (config.folder / "report.html").exists():
        return False
    return all(step.done for step in plan(settled(config)))


def claim_run(config: RunConfig, next_round: bool = False, again: Sequence[str] = ()) -> RunConfig:
    """Write the run's `config.yaml`, and remove what is to be made `again`; the settled config,
    with a round more if that is asked for.

    Nothing is removed or written before all that can be refused has been looked at.

    Raises:
        ConfigDrift: a step was made by another config; names each key that differs.
        UserError: `again` names no stage; there may be no more rounds; a model or dataset is not
            on the hub, or the hub cannot be asked.
    """
    redo.remove_recorded(config.folder)
    made_by, config = recorded(config.folder), settled(config)
    anew, named = made_anew(config, again), redo.named(_steps(config), again)
    if not all_fixed(config, made_by):
        config = fixed(config)
    if next_round:
        config = config.model_copy(update={"rounds": _rounds_after(config, anew)})
    refuse_drift(config, again)
    redo.record(config.folder, anew, named, _request(config, again))
    text = dump_yaml(config.model_dump(mode="json"))
    write_atomic(config.folder / "config.yaml", text.encode())
    redo.remove_recorded(config.folder)
    forget_step(config.folder)
    return config


def claim_together(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """Claim runs that are to be compared: those that nobody claimed before get the day and the
    commits of the others.

    Raises:
        FolderBusy: another process writes to one of the folders.
        ConfigDrift, UserError: for the reasons of `claim_run`.
    """
    claimed = {
        config.folder: settled(config)
        for config in configs
        if (config.folder / "config.yaml").exists()
    }
    for config in claimed.values():
        refuse_drift(config)
    for config in configs:
        if config.folder not in claimed:
            claimed[config.folder] = _claim_alike(config, next(iter(claimed.values()), config))
    return [claimed[config.folder] for config in configs]


def _claim_alike(config: RunConfig, other: RunConfig) -> RunConfig:
    known = {"date": config.date or other.date, "commits": other.commits | config.commits}
    make_folder(config)
    with folder_lock(config.folder):
        return claim_run(config.model_copy(update=known))


def made_anew(config: RunConfig, again: Sequence[str]) -> list[PlannedStep]:
    """The steps that are removed where `again` is to be made anew, and all that read from them.
    None where this very request has removed them already and they are not all made yet.

    Raises:
        UserError: there is no such run, or no such stage in it.
    """
    if again and not (config.folder / "config.yaml").exists():
        raise UserError(
            f"--redo {again[0]}: there is no run in {config.folder}. Overrides give a run a name "
            "of its own: add `name=` to change a run that is there"
        )
    steps = _steps(config)
    named = redo.named(steps, again)
    if again and _is_under_way(config, again):
        return []
    return redo.readers(steps, named)


def _is_under_way(config: RunConfig, again: Sequence[str]) -> bool:
    config = settled(config)
    removed = redo.removed_for(config.folder, _request(config, again))
    # By the file alone: a manifest that is damaged since is a reason to begin anew.
    made = {step.path: (step.out / "_manifest.json").exists() for step in plan(config)}
    return any(not made.get(path, True) for path in removed)


def _request(config: RunConfig, again: Sequence[str]) -> str:
    """Tells a `--redo` from one of other stages, or with another config."""
    return of_json([sorted(again), run_identity(config)])


def steps_left(
    config: RunConfig,
    again: Sequence[str] = (),
    next_round: bool = False,
    until: str | None = None,
) -> list[PlannedStep]:
    """The steps that a run of the config would make, as far as `until`: those that are not done,
    those made `again`, and those of one round more where `claim_run` would add it.

    Raises:
        UserError: for the reasons of `claim_run` that the run's folder shows.
    """
    anew, config = made_anew(config, again), settled(config)
    if next_round:
        config = config.model_copy(update={"rounds": _rounds_after(config, anew)})
    paths = {step.path for step in anew} | {*redo.recorded(config.folder)}
    steps = steps_until(config, until)
    return [step for step in steps if step.path in paths or not step.done]


def refuse_drift(config: RunConfig, again: Sequence[str] = ()) -> None:
    """Refuse a config that differs from the one by which finished steps were made.

    Raises:
        ConfigDrift: a step was made by another config or from other inputs, and is not about to
            be made anew; names all of them, and how to make them anew.
    """
    config, made_by = settled(config), recorded(config.folder)
    steps = plan(config)
    here = {"runs_dir": config.runs_dir, "name": config.name}
    before = plan(made_by.model_copy(update=here)) if made_by else []
    anew = {step.path for step in made_anew(config, again)} | {*redo.recorded(config.folder)}
    drifts = drift.drifted(steps, before, anew)
    # The name of a copied run is another, and no step's; what holds it is told by its step.
    was = run_identity(made_by.model_copy(update=here)) if made_by else {}
    keys = config_changes(was, run_identity(config)) if made_by else []
    drift.refuse(config.folder, drifts, steps, keys)


def run_identity(config: RunConfig) -> dict[str, Any]:
    """The part of a config that decides what the run makes."""
    return {key: value for key, value in identity(config).items() if key not in _FREE}


def _steps(config: RunConfig) -> list[PlannedStep]:
    """The run's steps, and those that an earlier config has left in its folder."""
    steps = plan(settled(config))
    made_by = recorded(config.folder)
    if made_by is None:
        return steps
    left = plan(made_by.model_copy(update={"runs_dir": config.runs_dir, "name": config.name}))
    paths = {step.path for step in steps}
    return steps + [step for step in left if step.path not in paths]


def _rounds_after(config: RunConfig, anew: Sequence[PlannedStep]) -> int:
    """The run's rounds, with one more where all are done, nothing is made anew, and no gate has
    stopped it.

    Raises:
        UserError: there may be no more.
    """
    if anew or not all(step.done for step in plan(config)) or stopped_after(config):
        return config.rounds
    if config.rounds == config.training.most_rounds:
        raise UserError(
            f"{config.folder}: all rounds of training.schedule_rounds ({config.rounds}) are done, "
            "and the learning rate would stay 0; go on under another name: "
            f"policy.path={config.folder / f'round-{config.rounds}' / 'policy'}"
        )
    if config.rounds == MOST_ROUNDS:
        last = config.folder / f"round-{MOST_ROUNDS}" / "policy"
        raise UserError(
            f"{config.folder}: all of its {MOST_ROUNDS} rounds are done, and no run has more; go "
            f"on under another name: policy.path={last}"
        )
    return config.rounds + 1
