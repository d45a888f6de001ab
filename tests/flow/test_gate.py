"""Gated rounds with nobody watching: a schedule makes three; a reward with a minus sign, one, whose
verdict a judge and the drift from the start are part of."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import CHECKOUT
from judge_endpoint import Endpoint
from judging_files import completion, write_outputs

from contracts.steps.lock import folder_lock
from contracts.tables.parts import read_table

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

REWARD = """
from demo import rubric

def reversed_truth(messages, response):
    return -rubric.score(messages, response)
"""
# Rewards by functions and answers by transformers: no engine starts, no reward model is loaded.
OPTIONS = [
    "gate={}",
    "prompts.test_size=24",
    "sampling.n=3",
    "sampling.engine.kind=transformers",
    "evaluation.sampling.n=2",
    "evaluation.sampling.engine.kind=transformers",
    "evaluation.benchmarks=[]",
    "training.learning_rate=1e-3",
    "training.global_batch=8",
    "training.resources.strategy=none",
    "training.resources.processes=1",
]


def rewarded_by(function: str) -> str:
    return f"annotation.annotators=[{{kind: function, name: mine, function: {function}}}]"


def wait_for(is_so: Callable[[], bool], serving: subprocess.Popen) -> None:
    deadline = time.monotonic() + 400
    while not is_so():
        assert serving.poll() is None, "the schedule has ended"
        assert time.monotonic() < deadline
        time.sleep(1)


def states(server: dict[str, str]) -> set[str]:
    """What the flow runs of the schedule are, by name, those that are still to come left out."""
    request = urllib.request.Request(
        f"{server['PREFECT_API_URL']}/flow_runs/filter",
        json.dumps({"flow_runs": {"name": {"like_": "nightly"}}}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return {flow_run["state"]["name"] for flow_run in json.load(answer)}


def test_a_schedule_makes_three_rounds_each_through_its_gate(
    tmp_path: Path,
    demo_models: Path,
    prefect_server: dict[str, str],
) -> None:
    """Started by the clock alone: while another process is at the run's folder it is skipped."""
    run = tmp_path / "nightly"
    run.mkdir()
    serving = subprocess.Popen(
        [sys.executable, "-m", "flows.cli.app", "schedule", "configs/demo.yaml", *OPTIONS,
         rewarded_by("demo.rubric:score"), "name=nightly", "rounds=3", "prompts.limit=96",
         "prompts_per_round=24", "gate={worse: promote}",
         f"runs_dir={tmp_path}", "--cron", "* * * * *"],
        cwd=CHECKOUT, env={**os.environ, **prefect_server, "PREFECT_RUNNER_POLL_FREQUENCY": "1"},
    )  # fmt: skip
    try:
        with folder_lock(run):
            wait_for(lambda: "Skipped" in states(prefect_server), serving)
        wait_for((run / "round-3" / "gate" / "_manifest.json").exists, serving)
        assert not states(prefect_server) & {"Failed", "Crashed"}
    finally:
        serving.terminate()
        serving.wait(60)
    for number in (1, 2, 3):
        (decision,) = read_table(run / f"round-{number}" / "gate").to_pylist()
        assert (decision["action"], decision["by"]) == ("promote", "rule")
    drawn = [
        set(read_table(run / f"round-{number}" / "prompts")["prompt_id"].to_pylist())
        for number in (1, 2, 3)
    ]
    assert all(drawn) and len(set.union(*drawn)) == sum(map(len, drawn)), "fresh prompts a round"


def the_longer(question: str) -> bytes:
    """What a judge says that takes the longer answer of the two."""
    first, second = re.findall(r'"output": """(.*?)"""', question, re.DOTALL)
    likely, other = ("m", "M") if len(first) > len(second) else ("M", "m")
    return completion(likely, {likely: -0.1, other: -2.4})


def judged_by(endpoint: Endpoint, folder: Path) -> list[str]:
    """Overrides for a judge of answers to ten of the demo's questions, and for the drift."""
    questions = CHECKOUT / ".cache" / "demo" / "alpaca_prompts.json"
    asked = [row["instruction"] for row in json.loads(questions.read_text())[:10]]
    base = write_outputs(folder / "base.json", dict.fromkeys(asked, "A carp and a pike."), "base")
    benchmark = {"name": "alpaca_eval", "path": str(questions), "questions_sha256": "any",
                 "max_tokens": 48, "limit": len(asked)}  # fmt: skip
    judge = {"name": "j", "model": "m", "base_url": endpoint.url, "repeats": 0,
             "resources": {"api_key_env": None}}  # fmt: skip
    with_files = {"alpaca_eval": {"baseline": str(base), "difficulty": None, "gamed": None}}
    keys = {"benchmarks": [benchmark], "judges": [judge], "judged_with": with_files,
            "drift_prompts": 10}  # fmt: skip
    return [f"evaluation.{key}={json.dumps(value)}" for key, value in keys.items()]


def test_a_reversed_reward_is_stopped_at_the_gate(
    tmp_path: Path, demo_models: Path, prefect_server: dict[str, str]
) -> None:
    (tmp_path / "mine.py").write_text(REWARD)
    path = f"{CHECKOUT}{os.pathsep}{tmp_path}"
    environment = {**os.environ, **prefect_server, "PYTHONPATH": path}
    # The tests' own was started with another path, and would fork nothing of this run's.
    environment.pop("ONPOLICY_FORK_SERVER", None)
    endpoint = Endpoint(the_longer)
    command = [
        sys.executable, "-m", "flows.cli.app", "run", "configs/demo.yaml", *OPTIONS,
        rewarded_by("mine:reversed_truth"), "name=reversed", "rounds=2", "prompts.limit=48",
        *judged_by(endpoint, tmp_path),
    ]  # fmt: skip
    for told in ("Report: ", "nothing to run"):  # the same command again changes nothing
        ended = subprocess.run(
            [*command, f"runs_dir={tmp_path}"], cwd=CHECKOUT, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        for part in (told, "stopped at the gate after round 1 by rule", "second_reward -"):
            assert part in ended.stderr
    endpoint.server.shutdown()
    endpoint.server.server_close()
    run = tmp_path / "reversed"
    assert not (run / "round-2").exists()
    assert len(endpoint.bodies) == 2 * 10  # the start's answers and the round's, each once
    verdict = run / "round-1" / "evaluation" / "verdict"
    effects = {row["measure"]: row["effect"] for row in read_table(verdict).to_pylist()}
    assert effects["second_reward"] == "worse"
    assert "missing" not in (effects["alpaca_eval"], effects["drift"])
    assert "Win rates by judge" in (run / "report.html").read_text()
