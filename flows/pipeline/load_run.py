"""A run's config, read with its overrides."""

from collections.abc import Sequence
from pathlib import Path

from contracts.config.base import load_config
from contracts.errors import UserError
from contracts.steps.fingerprint import of_json
from contracts.steps.step import config_changes
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import run_identity


def load_run(path: Path, overrides: Sequence[str]) -> RunConfig:
    """The config with its overrides; where they change what is made, under a name of its own.

    So the same file with another seed is another run, and the same command finds it again.
    """
    config = load_config(RunConfig, path, overrides)
    if any(override.startswith("name=") for override in overrides):
        return config
    try:
        base = run_identity(load_config(RunConfig, path))
    except UserError:  # the file needs its overrides to be complete
        base = {}
    # By what changes alone: an upgrade that brings a key is no other run.
    changes = config_changes(base, run_identity(config))
    if not changes:
        return config
    return config.model_copy(update={"name": f"{config.name}-{of_json(changes)[:6]}"})
