"""A run's folder: whose it is, and whether everything in it is done."""

import errno
import os
import tempfile
from collections.abc import Sequence
from typing import Any

from contracts.config import check, identity, read_yaml
from contracts.errors import ConfigDrift, UserError
from contracts.parts import write_atomic
from contracts.step import claim, config_changes, folder_lock
from contracts.strict_yaml import dump_yaml
from flows.claimed import as_claimed, fixed
from flows.config import RunConfig
from flows.plan import plan

# May differ between two runs of one folder: a finished run goes on when `rounds` is raised.
_FREE = {"rounds", "runs_dir"}


def make_folder(config: RunConfig) -> None:
    """Make the run's folder, if it is not there, before anything is started.

    Raises:
        UserError: it cannot be made, or nothing can be written in it.
    """
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=config.folder):
            pass
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(
            f"{config.folder}: cannot be made or written to ({reason}); set `runs_dir` to a "
            "folder of your own"
        ) from None


def is_finished(config: RunConfig) -> bool:
    """Whether every step of the run is done and its report is written.

    Raises:
        ConfigDrift: the folder, or a step's, was made by another config or from other inputs.
    """
    if not (config.folder / "config.yaml").exists():
        return False
    config = as_claimed(config, refuse_other_run(config))
    steps = plan(config)
    if not all(step.done for step in steps) or not (config.folder / "report.html").exists():
        return False
    return all(claim(step.stage, step.config, step.inputs, step.out) for step in steps)


def claim_run(config: RunConfig, next_round: bool = False) -> RunConfig:
    """Write the run's `config.yaml`; the config with what was fixed as the run was first claimed
    (flows.claimed), and with a round more if that is asked for.

    Raises:
        ConfigDrift: the folder was made by another config; names each key that differs.
        UserError: a model or dataset is not on the hub, or the hub cannot be asked.
    """
    path = config.folder / "config.yaml"
    if not path.exists():
        config = fixed(config)
    else:
        made_by = refuse_other_run(config)
        config = as_claimed(config, made_by)
        if next_round:
            config = config.model_copy(update={"rounds": _rounds_after(config, made_by.rounds)})
    write_atomic(path, dump_yaml(config.model_dump(mode="json")).encode())
    return config


def claim_together(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """Claim runs that are to be compared: those that nobody claimed before get the day and the
    commits of the others.

    Raises:
        FolderBusy: another process writes to one of the folders.
        ConfigDrift, UserError: as `claim_run`.
    """
    claimed = {
        config.folder: as_claimed(config, refuse_other_run(config))
        for config in configs
        if (config.folder / "config.yaml").exists()
    }
    for config in configs:
        if config.folder not in claimed:
            claimed[config.folder] = _claim_alike(config, next(iter(claimed.values()), config))
    return [claimed[config.folder] for config in configs]


def _claim_alike(config: RunConfig, other: RunConfig) -> RunConfig:
    known = {"date": config.date or other.date, "commits": other.commits | config.commits}
    make_folder(config)
    with folder_lock(config.folder):
        return claim_run(config.model_copy(update=known))


def refuse_other_run(config: RunConfig) -> RunConfig:
    """The config that the folder was made by.

    Raises:
        ConfigDrift: it differs from `config`; names each key.
    """
    path = config.folder / "config.yaml"
    made_by = check(RunConfig, read_yaml(path), origin=str(path))
    own = run_identity(as_claimed(config, made_by))
    if found := config_changes(run_identity(made_by), own):
        raise ConfigDrift(
            f"{config.folder}: was made by another config; nothing was changed.\n  "
            + "\n  ".join(found)
            + "\nChoose another `name` for the new run."
        )
    return made_by


def run_identity(config: RunConfig) -> dict[str, Any]:
    """What of a config decides what the run makes."""
    return {key: value for key, value in identity(config).items() if key not in _FREE}


def _rounds_after(config: RunConfig, rounds: int) -> int:
    rounds = max(config.rounds, rounds)
    finished = all(step.done for step in plan(config.model_copy(update={"rounds": rounds})))
    return rounds + 1 if finished else rounds
