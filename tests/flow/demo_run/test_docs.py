"""Every command in README.md and docs/ works as written (runs with fewer prompts)."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import CHECKOUT

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
]

PAGES = sorted((CHECKOUT / "docs").glob("*.md"))
# Two processes take a minute of CPU to start: the demo's own run has them, and scale.md's.
ONE_PROCESS = ["training.resources.strategy=none", "training.resources.processes=1"]
NO_BENCHMARKS = ["evaluation.benchmarks=[]"]
# What speaks of the run that README's first command has made.
THE_DEMO = re.compile(
    r"onpolicy (run|check|doctor|plan) configs/demo\.yaml( --(dry-run|answer-tokens|rate).*)?"
)
# Run elsewhere: as this very suite, as CI, as the session's server.
ELSEWHERE = ("make lint", "onpolicy server", "export ")


def commands(page: Path, language: str) -> list[str]:
    blocks = re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)
    if language == "python":
        return blocks
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith(ELSEWHERE)]


def arguments(command: str) -> list[str]:
    words = shlex.split(command)
    module = {"onpolicy": "flows.cli.app", "prefect": "prefect"}
    if words[0] == "python":
        return [sys.executable, *words[1:]]
    return [sys.executable, "-m", module[words[0]], *words[1:]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_works(
    page: Path, workplace: Path, demo_run: Path, prefect_server: dict[str, str], small: list[str]
) -> None:
    environment = {**os.environ, **prefect_server, "PYTHONPATH": str(CHECKOUT)}
    for command in commands(page, "sh"):
        if command.startswith(("onpolicy schedule", "prefect deployment run", "onpolicy browse")):
            continue  # they serve until they are stopped: tested below, and in test_browse
        extra = small if re.match("onpolicy (run|sweep) configs/demo.yaml", command) else []
        if extra:
            extra = [*extra, *NO_BENCHMARKS]
        if extra and "training.resources" not in command:
            extra = [*extra, *ONE_PROCESS]
        if THE_DEMO.fullmatch(command):
            extra = ["name=demo", *small]
        ended = subprocess.run(
            [*arguments(command), *extra],
            cwd=workplace,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    for block in commands(page, "python"):
        ended = subprocess.run(
            [sys.executable, "-c", block],
            cwd=workplace,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{block}\n{ended.stderr}"


def test_a_schedule_is_a_deployment_that_runs_and_stops(
    workplace: Path, demo_run: Path, prefect_server: dict[str, str], small: list[str]
) -> None:
    environment = {**os.environ, **prefect_server, "PYTHONPATH": str(CHECKOUT)}
    serve = arguments('onpolicy schedule configs/demo.yaml --cron "0 2 * * *"')
    serving = subprocess.Popen([*serve, "name=demo", *small], cwd=workplace, env=environment)
    try:
        deadline = time.monotonic() + 60
        start = arguments("prefect deployment run on-policy/demo --watch")
        while time.monotonic() < deadline:
            ended = subprocess.run(
                start, cwd=workplace, env=environment, capture_output=True, text=True, check=False
            )
            if "not found" not in (ended.stdout + ended.stderr).lower():
                break
            time.sleep(1)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    finally:
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(60) is not None


def test_the_readme_is_short_and_names_every_folder() -> None:
    text = (CHECKOUT / "README.md").read_text()
    assert text.count("\n") <= 120
    for folder in ("contracts", "generation", "annotation", "training", "evaluation", "flows"):
        assert f"\n    {folder}/ " in text
