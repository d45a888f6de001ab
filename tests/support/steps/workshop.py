"""A stage for tests of steps, and its folders."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from contracts.config.base import Config, Resources
from contracts.errors import OnPolicyError
from contracts.steps.facts import OfPolicy
from contracts.steps.inputs import Data, Inputs
from contracts.steps.manifest import Manifest, Result
from contracts.steps.step import Stage, run_once
from contracts.tables.parts import part_path, write_part
from contracts.tables.schemas import METRICS


class Cores(Resources):
    count: int = 1


class Inner(Config):
    depth: int = 1


class Settings(Config):
    parts: int = 3
    learning_rate: float = 1e-6
    inner: Inner = Inner()
    resources: Cores = Cores()


class Sources(Inputs):
    source: Data


@dataclass
class Workshop:
    """A stage that writes numbered parts, and counts how often it is run."""

    source: Path
    out: Path
    runs: int = 0
    stop_before: int | None = None

    def stage(self, version: int = 1, name: str = "tests.parts") -> Stage:
        return Stage(
            name=name, version=version, config=Settings, inputs=Sources, output=METRICS,
            facts=OfPolicy, run=self._run,
        )  # fmt: skip

    def run(self, config: Settings | None = None, **changes: Any) -> Manifest:
        stage = self.stage(**changes)
        return run_once(stage, config or Settings(), {"source": str(self.source)}, self.out)

    def _run(self, config: Settings, inputs: Sources, out: Path) -> Result:
        self.runs += 1
        for index in range(config.parts):
            if index == self.stop_before:
                raise OnPolicyError("the engine broke")
            if not part_path(out, index).exists():
                row = {"step": [index], "name": [f"run {self.runs}"], "value": [0.0]}
                write_part(out, index, pa.table(row), METRICS)
        return Result(
            rows=config.parts, dropped={"empty": 2, "never": 0}, facts=OfPolicy(policy="p")
        )
