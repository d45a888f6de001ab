"""Scoring by worker processes that are killed, crash, and cannot load their model."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from checkout import CHECKOUT
from scoring_configs import config_of, fish, function_config

from annotation import score
from annotation.config import ScoreConfig
from annotation.workers import pool
from annotation.workers.main import work
from contracts.errors import OnPolicyError, UserError
from contracts.steps.step import claim, run_once
from contracts.tables.parts import part_paths, read_table
from runtime.pool.listening import Listener
from runtime.pool.placement import Placement, cores
from runtime.pool.worker import Death, Patience

pytestmark = pytest.mark.engine

WriteRun = Callable[..., dict[str, str]]

POISON = "zzpoison"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers share the cores with each other and with us."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_the_number_of_workers_changes_no_byte(
    poisoned_armorm: Path, tmp_path: Path, write_run: WriteRun
) -> None:
    inputs = write_run(tmp_path, fish(21), per_part=4) | {"models": {"armo": str(poisoned_armorm)}}
    made = [
        run_once(score.STAGE, config_of(poisoned_armorm, workers), inputs, tmp_path / str(workers))
        for workers in (0, 1, 2)
    ]
    assert made[0].rows == 63
    assert made[0].files == made[1].files == made[2].files
    assert made[0].facts == made[1].facts == made[2].facts


@pytest.mark.parametrize("workers", [1, 2])
def test_a_prompt_that_crashes_its_worker_twice_is_named(
    poisoned_armorm: Path, tmp_path: Path, workers: int, write_run: WriteRun
) -> None:
    texts = fish(12)
    texts[9] = f"name the {POISON}"
    inputs = write_run(tmp_path, texts, per_part=4) | {"models": {"armo": str(poisoned_armorm)}}
    out = tmp_path / "scores"
    pattern = r"part-00002\.parquet: annotator 'armo' on prompt p0009 crashed.*IndexError"
    for _ in range(2):
        with pytest.raises(OnPolicyError, match=pattern) as caught:
            run_once(score.STAGE, config_of(poisoned_armorm, workers), inputs, out)
        assert not isinstance(caught.value, UserError)
    assert {path.name for path in part_paths(out)} <= {"part-00000.parquet", "part-00001.parquet"}


MOODY = """
from pathlib import Path

crashed = Path(__file__).with_name("crashed")
calls = 0

def reward(messages, text):
    global calls
    calls += 1
    if calls > 3 + 4 * crashed.exists():
        crashed.touch()
        raise IndexError("too many")
    return 1.0
"""


def test_a_part_that_crashes_only_as_a_whole_is_named_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_run: WriteRun
) -> None:
    (tmp_path / "moody_rewards.py").write_text(MOODY)
    monkeypatch.syspath_prepend(tmp_path)
    inputs = write_run(tmp_path, fish(4), per_part=4, n=1)
    config = function_config("moody_rewards:reward")
    with pytest.raises(OnPolicyError, match=r"part-00000\.parquet: scoring it crashed .* again"):
        run_once(score.STAGE, config, inputs, tmp_path / "scores")


KILLS_ITSELF = """
import os, signal

def by_the_kernel(messages, text):
    os.kill(os.getpid(), signal.SIGKILL)

def by_a_fault(messages, text):
    if "2" in messages[0]["content"]:
        os.kill(os.getpid(), signal.SIGSEGV)
    return 1.0
"""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("by_the_kernel", "ended 10 times in a row without one part .killed by SIGKILL.; is there"),
        ("by_a_fault", "on prompt p0002 crashed a worker again .killed by SIGSEGV"),
    ],
)
def test_workers_that_always_die_end_the_stage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    message: str,
    write_run: WriteRun,
) -> None:
    (tmp_path / "deadly_rewards.py").write_text(KILLS_ITSELF)
    monkeypatch.syspath_prepend(tmp_path)
    inputs = write_run(tmp_path, fish(4), per_part=4)
    config = function_config(f"deadly_rewards:{function}")
    with pytest.raises(OnPolicyError, match=message):
        run_once(score.STAGE, config, inputs, tmp_path / "scores")


def test_workers_on_the_cpu_divide_its_cores(
    poisoned_armorm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_run: WriteRun
) -> None:
    source = "import torch\n\ndef threads(messages, text):\n    return torch.get_num_threads()\n"
    (tmp_path / "thread_rewards.py").write_text(source)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    function = {"kind": "function", "name": "threads", "function": "thread_rewards:threads"}
    config = config_of(poisoned_armorm, 2)  # its model has torch imported before workers fork
    config = ScoreConfig.model_validate(
        {"annotators": [*config.annotators, function], "resources": config.resources}
    )
    inputs = write_run(tmp_path, fish(4), per_part=2) | {"models": {"armo": str(poisoned_armorm)}}
    out = tmp_path / "scores"
    claim(score.STAGE, config, inputs, out)
    command = [sys.executable, "-m", "annotation.score", str(out / "_step.json")]
    subprocess.run(command, cwd=CHECKOUT, check=True)
    rows = read_table(out).to_pylist()
    found = {row["score"] for row in rows if row["annotator"] == "threads"}
    assert found == {max(1, cores() // 2)}


BROKEN_ON_0 = """
import os, time

def reward(messages, text):
    if os.environ["WORKER"] == "0":
        raise IndexError("this GPU is broken")
    if "name 0" in messages[0]["content"] or "name 2" in messages[0]["content"]:
        time.sleep(2)  # so that the broken one is there again while this one is busy
    return 1.0
"""


def test_one_broken_gpu_is_left_out_and_every_part_is_scored(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_run: WriteRun,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "broken_rewards.py").write_text(BROKEN_ON_0)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Placement, "environment", lambda _, number: {"WORKER": str(number)})
    inputs = write_run(tmp_path, fish(8), per_part=2, n=1)
    config = function_config("broken_rewards:reward", workers=2)
    assert run_once(score.STAGE, config, inputs, tmp_path / "scores").rows == 8
    assert 1 <= caplog.text.count("worker 0 ended (IndexError: this GPU is broken)") <= 3


def test_a_worker_that_cannot_load_its_model_is_the_users_mistake(
    poisoned_armorm: Path, tmp_path: Path, write_run: WriteRun
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(poisoned_armorm, broken)
    (broken / "model.safetensors").unlink()
    inputs = write_run(tmp_path, fish(4), per_part=2) | {"models": {"armo": str(broken)}}
    out = tmp_path / "scores"
    with pytest.raises(UserError, match=r"broken: holds no \*\.safetensors"):
        run_once(score.STAGE, config_of(broken, 2), inputs, out)
    command = [sys.executable, "-m", "annotation.score", str(out / "_step.json")]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=False)
    assert ended.returncode == 2


WITH_A_CHILD = """
import multiprocessing
import time
from pathlib import Path

started = []

def reward(messages, text):
    if not started:
        context = multiprocessing.get_context("spawn")
        started.append(context.Process(target=time.sleep, args=(600,), daemon=True))
        started[0].start()
        Path(__file__).with_name("child").write_text(str(started[0].pid))
    return 1.0
"""


def test_a_worker_on_a_gpu_may_start_processes_and_they_end_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_run: WriteRun
) -> None:
    (tmp_path / "parent_rewards.py").write_text(WITH_A_CHILD)
    monkeypatch.syspath_prepend(tmp_path)
    inputs = write_run(tmp_path, fish(2), per_part=2)
    config = function_config("parent_rewards:reward").model_dump(mode="json")
    job = {"config": config, "inputs": inputs, "out": str(tmp_path)}
    member = pool.ScoringWorker(Placement(1, (("0",),)), 0, work, job, Patience(60), "a function")
    poll = Listener[pool.ScoringWorker]().poll
    while not member.ready:
        assert poll([member]) == []
    member.give(pool.Part(0, Path(inputs["responses"]) / "part-00000.parquet"))
    heard = [message or {} for _ in range(2) for _, message in poll([member])]
    assert [list(message) for message in heard] == [["prepared"], ["scored", "scores"]]
    child = psutil.Process(int((tmp_path / "child").read_text()))
    assert child.is_running()
    os.kill(member.wire.process.pid, signal.SIGKILL)
    assert poll([member]) == [(member, None)]
    assert member.reap() == Death("killed by SIGKILL", True, loading=False, hung=False)
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
