"""`python -m flows.pipeline.describe`: a run's folders, drawn from the stages themselves.

One line a step: its folder, what it reads, what it makes, and the columns. The README holds the
same text; `python -m flows.pipeline.describe STAGE` prints the JSON Schema of a stage's manifest.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import TypeAdapter

from contracts.config.base import check
from contracts.errors import UserError
from contracts.steps.manifest import Manifest
from contracts.steps.step import Stage
from flows.pipeline.config import RunConfig
from flows.pipeline.plan import PlannedStep, plan
from runtime.stage_process import exit_code_of

# Every kind of step is in it, and nothing that it names is looked at.
_EXAMPLE: dict[str, Any] = {
    "name": "run",
    "runs_dir": "runs",
    "rounds": 1,
    "policy": {"path": "owner/policy", "revision": "commit"},
    "prompts": {"path": "prompts.jsonl", "test_size": 1, "evaluation_file": "benchmark.json"},
    "sampling": {},
    "annotation": {"annotators": [{"kind": "armorm", "name": "armorm", "path": "owner/reward"}]},
    "demonstrations": {},
    "training": {"loss": {"kind": "dpo"}},
    "evaluation": {"sampling": {"n": 1, "temperature": 0}},
}


def steps() -> list[PlannedStep]:
    """Every step of a run of one round, in order."""
    return plan(check(RunConfig, _EXAMPLE, origin="the example run"))


def table() -> str:
    """The steps as a markdown table."""
    rows = ["| folder | reads | makes | columns |", "|---|---|---|---|"]
    return "\n".join([*rows, *(" | ".join(("", *_cells(step), "")).strip() for step in steps())])


def manifest_schema(stage: Stage) -> dict[str, Any]:
    """The JSON Schema of the stage's `_manifest.json`, its facts included."""
    schema = TypeAdapter(Manifest).json_schema()
    facts = stage.facts.model_json_schema(mode="serialization", ref_template="#/$defs/{model}")
    schema["$defs"] = facts.pop("$defs", {})
    schema["properties"]["facts"] = facts
    schema["properties"]["stage"] = {"const": stage.name}
    return schema


def _cells(step: PlannedStep) -> Iterator[str]:
    yield f"`{step.path}/`"
    yield ", ".join(dict.fromkeys(_place(value) for value in step.reads.values()))
    if isinstance(output := step.stage.output, str):
        yield from (output, "")
    else:
        yield from (output.metadata[b"table"].decode(), ", ".join(output.names))


def _place(value: str) -> str:
    inside = value.removeprefix("runs/run/")
    return f"`{inside}`" if inside != value else value.partition("@")[0]


def _main(names: Sequence[str]) -> None:
    stages = {step.stage.name: step.stage for step in steps()}
    if unknown := [name for name in names if name not in stages]:
        raise UserError(f"{unknown[0]}: no stage of a run; name one of {', '.join(stages)}")
    for name in names:
        print(json.dumps(manifest_schema(stages[name]), indent=1))
    if not names:
        print(table())


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: _main(sys.argv[1:])))
