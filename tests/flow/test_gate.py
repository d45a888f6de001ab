"""A reward with a minus sign by mistake: the first round's gate ends the run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import CHECKOUT

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

REWARD = """
from demo import rubric

def reversed_truth(messages, response):
    return -rubric.score(messages, response)
"""
# Rewards by functions and answers by transformers: no engine starts, no reward model is loaded.
OPTIONS = [
    "name=reversed",
    "rounds=2",
    "gate={}",
    "prompts.limit=48",
    "prompts.test_size=24",
    "sampling.n=3",
    "sampling.engine.kind=transformers",
    "evaluation.sampling.n=2",
    "evaluation.sampling.engine.kind=transformers",
    "evaluation.benchmarks=[]",
    "annotation.annotators=[{kind: function, name: mine, function: mine:reversed_truth}]",
    "training.learning_rate=1e-3",
    "training.global_batch=8",
    "training.resources.strategy=none",
    "training.resources.processes=1",
]


def test_a_reversed_reward_is_stopped_at_the_gate(
    tmp_path: Path, prefect_server: dict[str, str], demo_models: Path
) -> None:
    (tmp_path / "mine.py").write_text(REWARD)
    path = f"{CHECKOUT}{os.pathsep}{tmp_path}"
    environment = {**os.environ, **prefect_server, "PYTHONPATH": path}
    command = [sys.executable, "-m", "flows.cli.app", "run", "configs/demo.yaml", *OPTIONS]
    for told in ("Report: ", "nothing to run"):  # the same command again changes nothing
        ended = subprocess.run(
            [*command, f"runs_dir={tmp_path}"], cwd=CHECKOUT, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        for part in (told, "stopped at the gate after round 1 by rule", "second_reward -"):
            assert part in ended.stderr
    assert not (tmp_path / "reversed" / "round-2").exists()
