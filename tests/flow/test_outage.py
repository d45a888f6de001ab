"""A Prefect server that dies takes nothing of a run along but its picture in the UI."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from checkout import CHECKOUT

pytestmark = [pytest.mark.engine, pytest.mark.timeout(180)]

STAGE = """
import time
from contracts.config.base import Config
from contracts.errors import OnPolicyError
from contracts.steps.manifest import Result
from runtime.stage_process import main
from runtime.progress import Progress
from contracts.steps.inputs import Inputs
from contracts.steps.step import Stage

class Settings(Config):
    fails: bool = False

def run(config, inputs, out):
    if config.fails:
        raise OnPolicyError("the loss is not finite")
    progress = Progress(20, "rows")
    for _ in range(20):
        time.sleep(0.25)
        progress.advance()
    return Result(rows=20)

STAGE = Stage("tiny_stage", 1, Settings, Inputs, "rows.txt", run)
if __name__ == "__main__":
    main(STAGE)
"""
FLOW = """
import sys
from pathlib import Path
from flows.cli import app as cli
from flows.prefect_ import settings
settings.apply()
from prefect import flow
from contracts.errors import OnPolicyError
from flows.on_policy import run_stage
from flows.prefect_.outage import remembered, run_flow
from flows.pipeline.planning.planned_step import PlannedStep
from flows.prefect_.run_server import ensure_server
from tiny_stage import STAGE, Settings

@flow(name="point", persist_result=False)
@remembered
def point(folder: str, names: list[str]) -> str:
    for name in names:
        step = PlannedStep(Path(folder), name, name, STAGE, Settings(fails=name == "fails"), {})
        run_stage(step)
    return names[-1]

@flow(name="sweep", persist_result=False)
@remembered
def points(folder: str) -> list[str]:
    ended = [run_flow(point, folder, ["long", "short"])]
    try:
        run_flow(point, folder, ["fails"])
    except OnPolicyError as error:
        ended.append(str(error))
    return ended

def command() -> None:
    ensure_server()
    print(run_flow(points, sys.argv[1]))

cli.app = command
cli.main()
"""


def test_a_run_whose_server_dies_in_mid_stage_finishes_and_says_so(tmp_path: Path) -> None:
    """Its stages are done, flows inside of it begin without a server, and a stage that fails is
    told by its own message."""
    (tmp_path / "tiny_stage.py").write_text(STAGE)
    own = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_API_URL": ""}
    quick = {"PREFECT_CLIENT_MAX_RETRIES": "1", "PYTHONPATH": f"{CHECKOUT}:{tmp_path}"}
    run = subprocess.Popen(
        [sys.executable, "-c", FLOW, tmp_path],
        env={**os.environ, **own, **quick},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "long" / ".lock-holder").exists() and run.poll() is None:
        time.sleep(0.05)
    started = psutil.Process(run.pid).children()
    next(child for child in started if "flows.prefect_.run_server" in child.cmdline()).kill()

    output, errors = run.communicate()
    assert run.returncode == 0, errors
    assert "short" in output and "fails failed: the loss is not finite" in output
    for name in ("long", "short"):
        assert (tmp_path / name / "_manifest.json").exists()
    assert errors.count("Prefect's server does not take what the run tells it") == 1
    assert "'point' ended: it is finished" in errors and "'sweep' ended" in errors
    assert "is back" not in errors and "Traceback" not in errors
    assert "Error logging" not in errors and "EventsWorker" not in errors
