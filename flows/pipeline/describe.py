"""`python -m flows.pipeline.describe`: a run's pipeline, folders and tables, drawn from its stages.

README.md holds the picture and docs/design.md the table; `python -m flows.pipeline.describe STAGE`
prints the JSON Schema of a stage's manifest.
"""

import functools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from pydantic import TypeAdapter

from contracts.config.base import check
from contracts.errors import UserError
from contracts.json_schema import Described
from contracts.steps.manifest import Manifest
from contracts.steps.step import Stage
from flows.pipeline.config import RunConfig
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.planned_step import PlannedStep
from runtime.stage_process import exit_code_of

# The least that a run has, and what a config may ask for beside; nothing that they name is read.
_LEAST: dict[str, Any] = {
    "name": "run",
    "runs_dir": "runs",
    "rounds": 1,
    "policy": {"path": "owner/policy", "revision": "commit"},
    "prompts": {"path": "prompts.jsonl", "test_size": 1},
    "sampling": {},
    "annotation": {"annotators": [{"kind": "armorm", "name": "armorm", "path": "owner/reward"}]},
    "training": {},
    "evaluation": {"sampling": {"n": 1, "temperature": 0}},
}
_ALL: dict[str, Any] = _LEAST | {
    "demonstrations": {},
    "gate": {},
    "replay": {},
    "training": {"loss": {"kind": "dpo"}},
    "evaluation": _LEAST["evaluation"]
    | {
        "benchmarks": ["alpaca_eval"],
        "drift_prompts": 1,
        "judges": [{"name": "JUDGE", "model": "model", "enabled": True}],
        "verdict": {"require_second_reward": False},
    },
}
_BESIDE = {
    "config.yaml": "the whole config, defaults included",
    "report.html": "rewards, curves, gains, pairs, drops",
    "round-0/": "what is held out, and the start's answers to it",
}
_READS_SHOWN = 3


def steps(rounds: int = 1) -> list[PlannedStep]:
    """Every step of a run that asks for all there is, in order."""
    return plan(check(RunConfig, _ALL | {"rounds": rounds}, origin="the example run"))


def kinds() -> list[PlannedStep]:
    """Every step of a run, and those that only later rounds have."""
    names = {_in_round(step.path) for step in steps()}
    return steps() + [step for step in steps(rounds=2) if _in_round(step.path) not in names]


def picture() -> str:
    """The pipeline as one line of arrows, and a run's folder as a tree; [what is asked for]."""
    return f"{_pipeline()}\n\n{_folder()}"


def table() -> str:
    """The steps as a markdown table."""
    rows = ["| folder | reads | makes | columns |", "|---|---|---|---|"]
    return "\n".join([*rows, *(" | ".join(("", *_cells(step), "")).strip() for step in kinds())])


def manifest_schema(stage: Stage) -> dict[str, Any]:
    """The JSON Schema of the stage's `_manifest.json`, its facts included."""
    schema = TypeAdapter(Manifest).json_schema()
    facts = stage.facts.model_json_schema(
        mode="serialization", ref_template="#/$defs/{model}", schema_generator=Described
    )
    schema["$defs"] = facts.pop("$defs", {})
    schema["properties"]["facts"] = facts
    schema["properties"]["stage"] = {"const": stage.name}
    return schema


def _pipeline() -> str:
    """The longest way from the prompts to the evaluation, and where the next round goes on."""
    names = [_in_round(path).partition("/")[0] for path in _longest_way()]
    names = [name for name, _ in groupby(names)]
    new, later = "runs/run/round-1/policy", (step for step in steps(rounds=2) if step.round == 2)
    again = next(step for step in later if new in _reads(step))
    line = " -> ".join(f"[{name}]" if f"round-1/{name}" in _optional() else name for name in names)
    to, back = (line.index(name) + len(name) // 2 for name in (_in_round(again.path), "policy"))
    arrow = " next round ".center(back - to - 1, "-")
    return "\n".join((line, f"{' ' * to}^{' ' * (back - to - 1)}|", f"{' ' * to}+{arrow}+"))


def _longest_way() -> list[str]:
    ways: dict[str, list[str]] = {}
    for step in steps():
        before = (ways.get(value.removeprefix("runs/run/"), []) for value in _reads(step))
        ways[step.path] = [*max(before, key=len), step.path]
    return max(ways.values(), key=len)


def _folder() -> str:
    lines = [("runs/run/", ""), *((f"  {name}", told) for name, told in _BESIDE.items())]
    above: list[str] = []
    for step in steps():
        if step.path.startswith("round-0/"):
            continue
        *parents, name = step.path.split("/")
        for depth, parent in enumerate(parents):
            if above[: depth + 1] != parents[: depth + 1]:
                lines.append((f"{'  ' * depth}  {parent}/", ""))
        above = parents
        name = f"[{name}/]" if step.path in _optional() else f"{name}/"
        lines.append((f"{'  ' * len(parents)}  {name}", _told(step)))
    return _aligned([*lines, ("  round-2/ ...", "")])


def _aligned(lines: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:{width}}{told}".rstrip() for name, told in lines)


def _told(step: PlannedStep) -> str:
    """What is done, and from what: a place in the run as its round's folder sees it."""
    above = "runs/run" if step.path == "prompts" else f"runs/run/round-{step.round}"
    read = (
        os.path.relpath(value, above) if value.startswith("runs/run/") else _plain(value)
        for value in _reads(step)
    )
    first, more = list(dict.fromkeys(read)), ""
    if len(first) > _READS_SHOWN:
        more = f" and {len(first) - _READS_SHOWN + 1} more"
        first = first[: _READS_SHOWN - 1]
    return f"{step.label} <- {', '.join(first)}{more}"


@functools.cache
def _optional() -> set[str]:
    least = {step.path for step in plan(check(RunConfig, _LEAST, origin="the least run"))}
    return {step.path for step in steps()} - least


def _reads(step: PlannedStep) -> list[str]:
    return list(step.reads.values())


def _in_round(path: str) -> str:
    return path.partition("/")[2] or path


def _cells(step: PlannedStep) -> Iterator[str]:
    yield f"`{step.path}/`"
    yield ", ".join(dict.fromkeys(_place(value) for value in _reads(step)))
    if isinstance(output := step.stage.output, str):
        yield from (output, "")
    else:
        yield from (output.metadata[b"table"].decode(), ", ".join(output.names))


def _place(value: str) -> str:
    return f"`{_plain(value)}`" if value.startswith("runs/run/") else _plain(value)


def _plain(value: str) -> str:
    return value.removeprefix("runs/run/").partition("@")[0]


def _main(names: Sequence[str]) -> None:
    stages = {step.stage.name: step.stage for step in kinds()}
    if unknown := [name for name in names if name not in stages]:
        raise UserError(f"{unknown[0]}: no stage of a run; name one of {', '.join(stages)}")
    for name in names:
        print(json.dumps(manifest_schema(stages[name]), indent=1))
    if not names:
        print(picture(), table(), sep="\n\n")


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: _main(sys.argv[1:])))
