"""A run whose machine is gone for good goes on in an empty folder, from its store alone."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import CHECKOUT
from s3_server import S3

from contracts.steps.manifest import read_manifest

pytestmark = pytest.mark.engine

BEFORE = ("round-1/responses", "round-1/scores")


def test_a_run_goes_on_elsewhere_by_the_documented_commands(
    workplace: Path, demo_run: Path, prefect_server: dict[str, str], small: list[str],
    tmp_path: Path, s3: S3,
) -> None:  # fmt: skip
    page = (CHECKOUT / "docs" / "scale.md").read_text()
    run, pull, inspect = re.search(r"```console\n(.*?)```", page, re.DOTALL)[1].splitlines()
    bucket = s3.bucket
    environment = {**os.environ, **prefect_server, "PYTHONPATH": str(CHECKOUT)}

    def do(command: str, *more: str) -> str:
        _, *words = shlex.split(command.replace("s3://bucket", bucket))
        words = [sys.executable, "-m", "flows.cli.app", *words]
        ended = subprocess.run([*words, *more], cwd=workplace, env=environment,
                               capture_output=True, text=True, check=False)  # fmt: skip
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout + ended.stderr

    # Machine A has made all up to the scores, as the demo's run did, and is gone.
    shutil.copytree(demo_run, tmp_path / "a" / "demo")
    (tmp_path / "a" / "demo" / "report.html").unlink()
    round_1 = tmp_path / "a" / "demo" / "round-1"
    for part_of_report in (".section.html", ".plots.json"):
        (round_1 / part_of_report).unlink()
    for folder in round_1.iterdir():
        if f"round-1/{folder.name}" not in ("round-1/prompts", *BEFORE):
            shutil.rmtree(folder)
    a = ["name=demo", f"runs_dir={tmp_path}/a", *small]
    do(run, *a, "--until", "round-1/scores")
    shutil.rmtree(tmp_path / "a")

    b = ["name=demo", f"runs_dir={tmp_path}/b", *small]
    told = do(run, *b, "--until", "round-1/pairs")
    assert "steps pulled from" in told
    for path in (*BEFORE, "round-1/pairs"):
        here = read_manifest(tmp_path / "b" / "demo" / path)
        there = read_manifest(demo_run / path)
        assert here and there and here.files == there.files
        assert (here.started == there.started) is (path in BEFORE)

    do(pull, "--into", str(tmp_path / "c"))
    assert read_manifest(tmp_path / "c" / "demo" / "round-1/pairs") == here
    assert f"{bucket}/runs/demo/round-1/pairs" in do(inspect)
