"""Verdicts and decisions of a made run, as its stages would have left them."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from contracts.steps.manifest import Manifest, Result, read_manifest, write_manifest
from contracts.steps.step import claim, run_once
from contracts.tables.parts import write_part
from contracts.tables.schemas import REASONS
from evaluation import gate
from evaluation.gates.answers import VerdictSaid
from evaluation.verdicts.decide import Outcome
from evaluation.verdicts.findings import Reason
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import claim_run
from flows.pipeline.planning.gates import asks
from flows.pipeline.planning.next_steps import next_steps, planned_anew
from flows.pipeline.planning.plan_evaluation import VERDICT
from training import train

TRUTH = {"kind": "function", "name": "truth", "function": "demo.rubric:score"}
JUDGED = {"sampling": {"n": 1, "temperature": 0}, "annotators": [TRUTH]}
"""Held-out answers by two annotators, as a gate needs it."""


def write_verdict(folder: Path, outcome: Outcome, says: str = "0.1 (0.05 to 0.2)") -> Path:
    """A finished verdict, with one reason."""
    reasons = [Reason(measure="second_reward", effect=outcome, says=says)]
    rows = [reason.model_dump() for reason in reasons]
    folder.mkdir(parents=True, exist_ok=True)
    write_part(folder, 0, pa.Table.from_pylist(rows, schema=REASONS), REASONS)
    facts = VerdictSaid(outcome=outcome, reasons=reasons)
    write_manifest(folder, "evaluation.verdict", Result(1, facts=facts), Manifest.clock())
    return folder


def make_gated(
    config: RunConfig, outcomes: dict[int, Outcome], until: str | None = None
) -> list[str]:
    """Make what is not made yet, with these verdicts by round and real gates, up to a gate that
    asks; the paths of the steps that were."""
    made = []
    for step in next_steps(config, until):
        if asks(step, config):
            break
        if step.stage is gate.STAGE:
            step = planned_anew(step, config)
            made += [] if step.done else [step.path]
            run_once(step.stage, step.config, step.inputs, step.out)
        elif claim(step.stage, step.config, step.inputs, step.out) is None:
            made.append(step.path)
            if step.label == VERDICT:
                write_verdict(step.out, outcomes[step.round], step.path)
                continue
            (step.out / "part-00000.parquet").write_text(step.path)
            if step.stage is train.STAGE:
                (step.out / "config.json").write_text("{}")
                (step.out / "model.safetensors").write_bytes(b"weights" * 100)
            write_manifest(step.out, step.stage.name, Result(rows=1), Manifest.clock())
    (config.folder / "report.html").write_text("a report")
    return made


def finished(config: RunConfig, **outcomes: Outcome) -> RunConfig:
    """The run, claimed and made; every round is better, unless `round_2="worse"` says otherwise."""
    config.folder.mkdir(parents=True, exist_ok=True)
    config = claim_run(config)
    told = {int(name.removeprefix("round_")): outcome for name, outcome in outcomes.items()}
    make_gated(config, dict.fromkeys(range(1, config.rounds + 1), "better") | told)
    return config


def read(config: RunConfig, path: str) -> dict[str, Any]:
    """The facts of a finished step."""
    manifest = read_manifest(config.folder / path)
    assert manifest
    return manifest.facts
