"""What a round costs beside its stages: claims, fingerprints, manifests, Prefect, the report.

`python -m benchmarks.orchestration [--run RUN] [--parts 1000]`, two figures:

- of the demo's last round in the finished run RUN (`onpolicy run configs/demo.yaml` into a new
  folder, unless given), the share of its wall time in which no stage was at work: a stage is, from
  its own process's claim (`_step.json`) to its manifest, so starting and ending it are outside;
- of a round whose tables have 1,000 parts each, in milliseconds a part: every step is claimed and
  finished without an engine, and then the whole run is looked at again, as the next start does.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.support.outcome import report_at_most
from benchmarks.support.run_times import spans
from contracts.config.base import load_config
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.steps.step import claim
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import claim_run, is_finished
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.planned_step import PlannedStep

_CONFIG = Path("configs/demo.yaml")
_SHARE, _MILLISECONDS = 0.03, 20.0


def main() -> None:
    """Print both outcomes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--parts", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _report_parts(arguments.parts, Path(folder))
        run = arguments.run or _demo(Path(folder))
        found = outside_stages(run)
    report_at_most(
        "orchestration",
        found["outside"] / found["round"],
        _SHARE,
        "of a round's wall time without a stage at work",
        load=round(os.getloadavg()[0], 1),
        **found,
    )


def outside_stages(run: Path) -> dict[str, Any]:
    """Seconds of the run's last round, and of those in which none of its stages was at work."""
    last = max(run.glob("round-*"), key=lambda path: int(path.name.removeprefix("round-")))
    times = [*spans(last).values()]
    begun, ended = times[0][0], (run / "report.html").stat().st_mtime
    at_work = sum(finished - claimed for claimed, finished in times)
    return {
        "round": round(ended - begun, 2),
        "outside": round(ended - begun - at_work, 2),
        "stages": len(times),
    }


def _demo(folder: Path) -> Path:
    environment = {**os.environ, "PREFECT_HOME": f"{folder}/prefect", "PREFECT_API_URL": ""}
    command = [sys.executable, "-m", "flows.cli.app", "run", str(_CONFIG), f"runs_dir={folder}"]
    subprocess.run([*command, "name=demo"], check=True, env=environment, stdout=sys.stderr)
    return folder / "demo"


def _report_parts(parts: int, folder: Path) -> None:
    overrides = [f"runs_dir={folder}", "name=parts", "rounds=1", "resources.reuse=false"]
    config = load_config(RunConfig, _CONFIG, overrides)
    config.folder.mkdir(parents=True)
    config = claim_run(config)
    steps = plan(config)
    seconds = {step.path: _seconds_of(step, parts) for step in steps}
    making = sum(seconds[step.path] for step in steps if step.round)
    (config.folder / "report.html").write_text("a report")
    started = time.perf_counter()
    if not is_finished(config):
        raise SystemExit("the run of many parts is not finished")
    again = time.perf_counter() - started
    tables = sum(1 for step in steps if step.round)
    report_at_most(
        "orchestration_parts",
        1000 * (making + again) / parts,
        _MILLISECONDS,
        f"ms a part, of a round of {tables} tables of {parts:,} parts each",
        claimed_and_finished=round(making, 2),
        looked_at_again=round(again, 2),
        load=round(os.getloadavg()[0], 1),
    )


def _seconds_of(step: PlannedStep, parts: int) -> float:
    """Claim a step and finish it; what its stage itself would write is not timed."""
    started = time.perf_counter()
    claim(step.stage, step.config, step.inputs, step.out)
    claimed = time.perf_counter()
    for number in range(parts):
        text = json.dumps([step.path, number])
        (step.out / f"part-{number:05d}.parquet").write_text(text)
    written = time.perf_counter()
    write_manifest(step.out, step.stage.name, Result(rows=parts), Manifest.clock())
    return claimed - started + time.perf_counter() - written


if __name__ == "__main__":
    main()
