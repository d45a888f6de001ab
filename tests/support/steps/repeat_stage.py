"""A stage that repeats a text, as a step of a run."""

from pathlib import Path
from typing import Any

from contracts.config.base import Config, Resources, check
from contracts.steps.facts import OfPolicy
from contracts.steps.inputs import Data, Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from flows.pipeline.planning.planned_step import PlannedStep


class Workers(Resources):
    processes: int = 1


class Settings(Config):
    times: int = 2
    resources: Workers = Workers()


class Texts(Inputs):
    text: Data


def repeat(config: Settings, inputs: Texts, out: Path) -> Result:
    text = Path(inputs.text).read_text()
    (out / "adapter").mkdir(exist_ok=True)
    (out / "adapter" / "weights.json").write_text("{}")
    (out / "part-00000.parquet").write_text(text * config.times)
    (out / ".cache").write_text("ours alone")
    return Result(rows=config.times, facts=OfPolicy(policy="p"))


STAGE = Stage(
    name="test.repeat", version=1, config=Settings, inputs=Texts, output="a text",
    facts=OfPolicy, run=repeat,
)  # fmt: skip


def step(runs: Path, run: str, text: str = "fish ", **settings: Any) -> PlannedStep:
    source = runs / run / "text.txt"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(text)
    inputs = Texts(text=str(source))
    config = check(Settings, settings, origin="test")
    return PlannedStep(runs / run, "round-1/texts", "repeat", STAGE, config, inputs, shared=True)
