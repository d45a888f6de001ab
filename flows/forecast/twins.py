"""Steps that a run would take over from another run, as far as that is known before it begins."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contracts.config.base import identity
from contracts.errors import UserError
from contracts.steps.fingerprint import of_input
from contracts.steps.manifest import read_manifest, versions
from contracts.steps.step import read_step
from flows.pipeline.planning.planned_step import PlannedStep


class Twins:
    """The runs beside one that have done its steps, found in the steps' order."""

    def __init__(self) -> None:
        self._runs: dict[str, set[Path]] = {}

    def has(self, step: PlannedStep) -> bool:
        """Whether another run has done this step with the same settings from the same inputs."""
        runs = set(self._same(step)) if step.shared else set()
        self._runs[str(step.out)] = runs
        return bool(runs)

    def _same(self, step: PlannedStep) -> Iterator[Path]:
        for path in step.run.parent.glob(f"*/{step.path}/_step.json"):
            other = Path(str(path).removesuffix(f"/{step.path}/_step.json"))
            try:
                manifest, recorded = read_manifest(path.parent), read_step(path)
            except UserError:  # another run's damage
                continue
            if other == step.run or manifest is None or manifest.versions != versions():
                continue
            made = recorded["stage"], recorded["version"], recorded["identity"]["config"]
            if made == (step.stage.name, step.stage.version, identity(step.config)) and (
                step.reads.keys() == recorded["identity"]["inputs"].keys()
                and all(self._read(step, name, recorded, other) for name in step.reads)
            ):
                yield other

    def _read(self, step: PlannedStep, name: str, recorded: dict[str, Any], other: Path) -> bool:
        """Whether an input of the step is what the other run's step has read."""
        value = Path(step.reads[name])
        if not value.is_relative_to(step.run):
            return bool(_content(step.reads[name]) == recorded["identity"]["inputs"][name])
        if manifest := read_manifest(value):
            return bool(recorded["identity"]["inputs"][name] == manifest.fingerprint)
        return other in self._runs.get(str(value), ())


def _content(value: str) -> str | None:
    try:
        return of_input(value)
    except UserError:  # not there yet
        return None
