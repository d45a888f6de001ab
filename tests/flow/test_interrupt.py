"""Ctrl-C: one line, every process gone, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

CHECKOUT = Path(__file__).parents[2]


def test_an_interrupted_run_ends_cleanly_with_all_its_processes(
    tmp_path: Path, prefect_server: dict[str, str], demo_models: Path, small: list[str]
) -> None:
    command = [sys.executable, "-m", "flows.cli", "run", "configs/demo.yaml", "name=stopped"]
    run = subprocess.Popen(
        [*command, f"runs_dir={tmp_path}", *small],
        cwd=CHECKOUT,
        env={**os.environ, **prefect_server},
        stderr=subprocess.PIPE,
        text=True,
    )
    holder = tmp_path / "stopped" / "round-0" / "evaluation" / "responses" / ".lock-holder"
    deadline = time.monotonic() + 120
    while not holder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    stage = int(holder.read_text().split()[1])
    run.send_signal(signal.SIGINT)
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 130, stderr
    assert "interrupted; run the same command again to go on" in stderr
    assert "Traceback" not in stderr
    assert not Path(f"/proc/{stage}").exists()
    assert (tmp_path / "stopped" / "prompts" / "_manifest.json").exists()
