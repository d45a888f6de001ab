"""One step of a run's plan."""

import re
from dataclasses import dataclass
from pathlib import Path

from contracts.config.base import Config
from contracts.steps.inputs import Inputs
from contracts.steps.manifest import Manifest, read_manifest
from contracts.steps.step import Stage


@dataclass(frozen=True)
class PlannedStep:
    """One stage of one round, ready to be claimed once the steps before it are done."""

    run: Path
    path: str
    label: str
    stage: Stage
    config: Config
    inputs: Inputs
    shared: bool = False
    """Whether another run's output of the same step will do."""
    provisional: bool = False
    """Whether a gate before it is still to decide, which may change what it reads."""

    @property
    def out(self) -> Path:
        """The step's folder."""
        return self.run / self.path

    @property
    def reads(self) -> dict[str, str]:
        """All that it reads, by name."""
        return self.inputs.by_name

    @property
    def round(self) -> int:
        """The round that it belongs to; 0 before the first, and for steps of no round."""
        match = re.match(r"round-(\d+)/", self.path)
        return int(match.group(1)) if match else 0

    @property
    def title(self) -> str:
        """Its name in the Prefect UI and on the terminal."""
        return f"round {self.round}: {self.label}" if self.round else self.label

    @property
    def done(self) -> Manifest | None:
        """Its manifest, if it is finished."""
        return read_manifest(self.out)
