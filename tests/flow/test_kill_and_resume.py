"""kill -9 of everything at any moment, then the same command: the same tables."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import CHECKOUT

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

# Six small rounds that are one training; a trainer of its own strategy is killed elsewhere
# (training/test_engines), and so are vLLM's workers (generation/test_workers).
SMALL = [
    "rounds=6",
    "prompts_per_round=8",
    "prompts.limit=64",
    "prompts.test_size=16",
    "sampling.prompts_per_part=2",
    "sampling.engine.kind=transformers",
    "training.global_batch=4",
    "training.carry_optimizer=true",
    "training.schedule_rounds=6",
    "training.resources.strategy=none",
    "training.resources.processes=1",
    "training.resources.checkpoint_every=1",
    "evaluation.every=3",
    "evaluation.sampling.engine.kind=transformers",
    "evaluation.benchmarks=[]",
]
# The long stages, with the share of their time at which they are killed (drawn once, by seed).
STAGES = [
    "prompts",
    "round-0/evaluation/responses",
    "round-1/responses",
    "round-1/policy",
    "round-2/scores",
    "round-2/policy",
    "round-3/evaluation/scores",
    "round-4/tokens",
    "round-5/policy",
    "round-6/policy",
]


@pytest.fixture(scope="module")
def environment(prefect_server: dict[str, str], demo_models: Path) -> dict[str, str]:
    return {**os.environ, **prefect_server}


def start(runs: Path, environment: dict[str, str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "flows.cli.app", "run", "configs/demo.yaml", "name=killed"]
    return subprocess.Popen(
        [*command, f"runs_dir={runs}", *SMALL], cwd=CHECKOUT, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def manifests(runs: Path) -> dict[str, dict]:
    folder = runs / "killed"
    found = sorted(folder.rglob("_manifest.json"))
    return {str(path.parent.relative_to(folder)): json.loads(path.read_text()) for path in found}


def kill_in(stage: str, share: float, seconds: float, runs: Path, environment: dict) -> bool:
    """Kill the run's whole process group within `stage`; whether it was caught inside."""
    process = start(runs, environment)
    folder = runs / "killed" / stage
    deadline = time.monotonic() + 300
    while not (folder / ".lock-holder").exists() and time.monotonic() < deadline:
        if process.poll() is not None:
            output = process.stdout.read() if process.stdout else ""
            pytest.fail(f"the run ended before {stage}: {output}")
        time.sleep(0.02)
    time.sleep(share * seconds)
    caught = not (folder / "_manifest.json").exists()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return caught


def test_a_run_killed_in_every_stage_ends_with_the_same_tables(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    reference = start(whole, environment)
    output, _ = reference.communicate()
    assert reference.returncode == 0, output
    expected = manifests(whole)

    chance = random.Random(20261121)
    caught = [
        kill_in(stage, chance.uniform(0.1, 0.95), expected[stage]["seconds"], broken, environment)
        for stage in STAGES
    ]
    last = start(broken, environment)
    output, _ = last.communicate()
    assert last.returncode == 0, output

    # A stage that was over when the kill came was not tested; most must have been inside.
    assert sum(caught) >= len(STAGES) // 2, dict(zip(STAGES, caught, strict=True))
    assert {path: found["files"] for path, found in manifests(broken).items()} == {
        path: found["files"] for path, found in expected.items()
    }
