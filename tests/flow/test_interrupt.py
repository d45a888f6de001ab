"""Ctrl-C and a stage that dies: one line, no process left, and the run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from checkout import CHECKOUT
from process_tree import started_by

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


def start_run(runs: Path, environment: dict[str, str], overrides: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "flows.cli.main", "run", "configs/demo.yaml", "name=stopped"]
    return subprocess.Popen(
        [*command, f"runs_dir={runs}", *overrides],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def start(
    runs: Path, environment: dict[str, str], overrides: list[str]
) -> tuple[subprocess.Popen, int]:
    """A run, and the process of its first sampling stage."""
    run = start_run(runs, environment, overrides)
    holder = runs / "stopped" / "round-0" / "evaluation" / "responses" / ".lock-holder"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if holder.exists() and (text := holder.read_text()):
            return run, int(text.split()[1])
        time.sleep(0.05)
    pytest.fail("the sampling stage did not start")


def own_server(folder: Path) -> dict[str, str]:
    """The environment in which a run starts both servers of its own: Prefect's, and the one that
    forks its stages."""
    own = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": ""}
    return {**own, "ONPOLICY_FORK_SERVER": ""}


def test_an_interrupted_run_ends_cleanly_with_all_its_processes(
    tmp_path: Path, prefect_server: dict[str, str], demo_models: Path, small: list[str]
) -> None:
    run, stage = start(tmp_path, prefect_server, small)
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 130, stderr
    assert "interrupted; run the same command again to go on" in stderr
    assert "Traceback" not in stderr
    assert not Path(f"/proc/{stage}").exists()
    assert (tmp_path / "stopped" / "prompts" / "_manifest.json").exists()
    assert state_of(prefect_server, newest_run(prefect_server)) == "Stopped"


def test_a_run_that_is_cancelled_in_prefect_ends_with_all_its_processes(
    tmp_path: Path, prefect_server: dict[str, str], demo_models: Path, small: list[str]
) -> None:
    """No deployment has started it, so that it has to see its own state."""
    run, _ = start(tmp_path, prefect_server, small)
    started, flow_run = started_by(run.pid), newest_run(prefect_server)
    cancelling = {"state": {"type": "CANCELLING"}}
    answer = ask(prefect_server, f"flow_runs/{flow_run}/set_state", **cancelling)
    assert answer["status"] == "ACCEPT"
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 143, stderr
    assert stderr.endswith("cancelled in Prefect; run the same command again to go on\n")
    _, alive = psutil.wait_procs(started, timeout=10)
    assert not alive
    assert state_of(prefect_server, flow_run) == "Cancelled"
    tasks = ask(prefect_server, "task_runs/filter", flow_runs={"id": {"any_": [flow_run]}})
    assert {task["state"]["type"] for task in tasks} == {"COMPLETED", "CANCELLED"}


def ask(server: dict[str, str], what: str, **content: Any) -> Any:
    request = urllib.request.Request(
        f"{server['PREFECT_API_URL']}/{what}",
        json.dumps(content).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def newest_run(server: dict[str, str]) -> str:
    newest, *_ = ask(server, "flow_runs/filter", sort="START_TIME_DESC")
    return str(newest["id"])


def state_of(server: dict[str, str], flow_run: str) -> str:
    found, *_ = ask(server, "flow_runs/filter", flow_runs={"id": {"any_": [flow_run]}})
    return str(found["state"]["name"])


@pytest.mark.parametrize(("number", "code"), [
    (signal.SIGINT, 130),
    (signal.SIGTERM, 143),
    (signal.SIGKILL, -signal.SIGKILL),
], ids=lambda value: getattr(value, "name", ""))  # fmt: skip
def test_a_signal_to_the_whole_group_ends_run_stage_and_server_at_once(
    tmp_path: Path, demo_models: Path, small: list[str], number: signal.Signals, code: int
) -> None:
    """As a terminal's Ctrl-C and a cluster's scheduler send it; the server is the run's own."""
    own = own_server(tmp_path)
    run, stage = start(tmp_path, own, [*small, "evaluation.sampling.engine.kind=vllm"])
    started = started_by(run.pid)
    assert stage in [process.pid for process in started]
    assert any("flows.prefect_.run_server" in process.cmdline() for process in started)
    os.killpg(run.pid, number)
    _, stderr = run.communicate(timeout=30)
    assert run.returncode == code, stderr
    assert "Traceback" not in stderr
    assert code < 0 or stderr.endswith("; run the same command again to go on\n")
    _, alive = psutil.wait_procs(started, timeout=15)
    assert not alive


@pytest.mark.parametrize(("number", "code", "said"), [
    (signal.SIGINT, 130, "onpolicy: interrupted; run the same command again to go on"),
    (signal.SIGTERM, 143, "onpolicy: stopped by SIGTERM; run the same command again to go on"),
], ids=lambda value: getattr(value, "name", ""))  # fmt: skip
def test_a_signal_while_the_server_comes_up_is_one_line_and_leaves_nothing(
    tmp_path: Path, demo_models: Path, number: signal.Signals, code: int, said: str
) -> None:
    run = start_run(tmp_path, own_server(tmp_path), [])
    deadline = time.monotonic() + 120
    while not _is_starting_its_server(run.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    started = psutil.Process(run.pid).children()
    os.killpg(run.pid, number)
    _, stderr = run.communicate(timeout=30)
    first, last = stderr.splitlines()
    assert first.startswith("stopped: 2 rounds from ")
    assert (run.returncode, last) == (code, said)
    _, alive = psutil.wait_procs(started, timeout=15)
    assert started and not alive


def _is_starting_its_server(run: int) -> bool:
    """What looks at the config starts first."""
    with suppress(psutil.Error):
        children = [child.cmdline() for child in psutil.Process(run).children()]
        return any("flows.prefect_.run_server" in command for command in children)
    return False


def test_a_stage_that_is_killed_is_named_and_the_run_fails_with_one(
    tmp_path: Path, prefect_server: dict[str, str], demo_models: Path, small: list[str]
) -> None:
    run, stage = start(tmp_path, prefect_server, small)
    os.kill(stage, signal.SIGKILL)
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 1, stderr
    assert "answer held-out prompts failed: was killed by SIGKILL" in stderr
    assert "run the same command again" in stderr and "Traceback" not in stderr


def test_a_stage_that_is_killed_is_started_again_where_retries_are_asked_for(
    tmp_path: Path, prefect_server: dict[str, str], demo_models: Path, small: list[str]
) -> None:
    retries = ["resources.retries=1", "resources.retry_delay=0"]
    run, stage = start(tmp_path, prefect_server, [*small, *retries])
    os.kill(stage, signal.SIGKILL)
    manifest = tmp_path / "stopped" / "round-0" / "evaluation" / "responses" / "_manifest.json"
    deadline = time.monotonic() + 120
    while not manifest.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=60)
    assert manifest.exists(), stderr
