"""One finished run of the demo, for all tests in this folder; they run in one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import CHECKOUT


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory, demo_models: Path) -> Path:
    """A folder in which the documented commands work as in a checkout, runs kept apart."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("configs", ".cache", "demo", "docs", "Makefile"):
        (folder / name).symlink_to(CHECKOUT / name)
    return folder


@pytest.fixture(scope="session")
def demo_run(workplace: Path, prefect_server: dict[str, str], small: list[str]) -> Path:
    """The folder of a finished run of the demo, with fewer prompts."""
    command = [
        sys.executable,
        "-m",
        "flows.cli.app",
        "run",
        "configs/demo.yaml",
        "name=demo",
        *small,
    ]
    environment = {**os.environ, **prefect_server, "PYTHONPATH": str(CHECKOUT)}
    ended = subprocess.run(
        command, cwd=workplace, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return workplace / "runs" / "demo"
