"""A run's folder: whose it is, and whether everything in it is done."""

import errno
import os
import tempfile
from typing import Any

from contracts.config import check, identity, read_yaml
from contracts.errors import ConfigDrift, UserError
from contracts.parts import write_atomic
from contracts.step import claim, config_changes
from contracts.strict_yaml import dump_yaml
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
    refuse_other_run(config)
    steps = plan(config)
    if not all(step.done for step in steps) or not (config.folder / "report.html").exists():
        return False
    return all(claim(step.stage, step.config, step.inputs, step.out) for step in steps)


def claim_run(config: RunConfig, next_round: bool = False) -> RunConfig:
    """Write the run's `config.yaml`; the config, with a round more if that is asked for.

    Raises:
        ConfigDrift: the folder was made by another config; names each key that differs.
    """
    path = config.folder / "config.yaml"
    if path.exists():
        made_by = refuse_other_run(config)
        if next_round:
            config = config.model_copy(update={"rounds": _rounds_after(config, made_by.rounds)})
    write_atomic(path, dump_yaml(config.model_dump(mode="json")).encode())
    return config


def refuse_other_run(config: RunConfig) -> RunConfig:
    """The config that the folder was made by.

    Raises:
        ConfigDrift: it differs from `config`; names each key.
    """
    path = config.folder / "config.yaml"
    made_by = check(RunConfig, read_yaml(path), origin=str(path))
    if found := config_changes(run_identity(made_by), run_identity(config)):
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
