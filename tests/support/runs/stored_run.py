"""A run with a store as the flow goes through it: real plan, records and pushes, no engines."""

from collections.abc import Sequence
from pathlib import Path

from made_run import fill

from contracts.steps.lock import folder_lock
from contracts.steps.step import claim
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import claim_run, make_folder
from flows.pipeline.planning.next_steps import next_steps
from flows.pipeline.store.run_store import storing


class Killed(Exception):
    """The machine is gone."""


def on_machine(config: RunConfig, machine: Path, **resources: object) -> RunConfig:
    """The config on a machine with a disk of its own."""
    changed = config.resources.model_copy(update=resources)
    return config.model_copy(update={"runs_dir": machine / "runs", "resources": changed})


def run(
    config: RunConfig, until: str | None = None, again: Sequence[str] = (), salt: str = ""
) -> list[str]:
    """Make what is neither here nor in the store; the paths of the steps that were made."""
    made = []
    make_folder(config)
    with folder_lock(config.folder), storing(config) as store:
        store.begin(config, again)
        config = claim_run(config, again=again)
        store.claimed(config)
        for step in next_steps(config, until):
            store.fetch(step)
            with store.watching(step):
                if claim(step.stage, step.config, step.inputs, step.out) is None:
                    fill(step, salt)
                    made.append(step.path)
            store.push(step)
    return made
