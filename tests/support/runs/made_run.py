"""A finished run without its engines: real plan, records and manifests, a line for each table."""

from pathlib import Path

from contracts.steps.fingerprint import of_json
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.steps.step import claim, describe
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import claim_run, settled
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.planned_step import PlannedStep


def make(config: RunConfig, salt: str = "") -> list[str]:
    """Make what is not made yet, as a run would; the paths of the steps that were.

    What a step makes depends on its settings, its inputs, and `salt`.
    """
    config.folder.mkdir(parents=True, exist_ok=True)
    made = []
    for step in plan(settled(config)):
        if claim(step.stage, step.config, step.inputs, step.out) is None:
            fill(step, salt)
            made.append(step.path)
    (config.folder / "report.html").write_text("a report")
    return made


def fill(step: PlannedStep, salt: str = "") -> None:
    """Make a claimed step."""
    recorded = describe(step.stage, step.config, step.inputs)
    text = of_json([recorded["identity"], step.path, salt])
    (step.out / "part-00000.parquet").write_text(text)
    write_manifest(step.out, step.stage.name, Result(rows=1), Manifest.clock())


def made(config: RunConfig) -> RunConfig:
    """The config, once its run is finished."""
    config.folder.mkdir(parents=True, exist_ok=True)
    config = claim_run(config)
    make(config)
    return config


def tables(folder: Path) -> dict[str, str]:
    """What each finished step of a run holds."""
    found = folder.rglob("_manifest.json")
    return {
        path.parent.relative_to(folder).as_posix(): (path.parent / "part-00000.parquet").read_text()
        for path in found
    }
