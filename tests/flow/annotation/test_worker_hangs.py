"""Scoring workers that hang: noticed, killed, and their parts scored."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process_tree import gone
from scoring_configs import config_of, fish, function_config

from annotation import score
from annotation.workers import pool
from annotation.workers.main import work
from contracts.errors import OnPolicyError
from contracts.steps.step import run_once
from contracts.tables.parts import part_paths, read_table
from runtime.pool.listening import Listener
from runtime.pool.placement import Placement
from runtime.pool.worker import Death, Patience

pytestmark = pytest.mark.engine

WriteRun = Callable[..., dict[str, str]]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers share the cores with each other and with us."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_a_stopped_worker_does_not_stop_whoever_writes_to_it(
    poisoned_armorm: Path, tmp_path: Path, write_run: WriteRun
) -> None:
    inputs = write_run(tmp_path, fish(2), per_part=2) | {"models": {"armo": str(poisoned_armorm)}}
    config = config_of(poisoned_armorm, 1).model_dump(mode="json")
    job = {"config": config, "inputs": inputs, "out": str(tmp_path)}
    member = pool.ScoringWorker(Placement(1), 0, work, job, Patience(3), "armo")
    poll = Listener[pool.ScoringWorker]().poll
    while not member.ready:
        assert poll([member]) == []
    os.kill(member.wire.process.pid, signal.SIGSTOP)
    member.send(index=0, path="x" * 10_000_000, one_by_one=False)
    assert poll([member]) == [(member, None)]
    assert member.reap() == Death("hung: silent for 3 s", False, loading=False, hung=True)


@pytest.fixture
def stopped_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The first worker that is given a part is stopped, as one that hangs."""
    stopped: list[int] = []
    give: Callable[..., None] = pool.ScoringWorker.give

    def given(member: pool.ScoringWorker, part: pool.Part) -> None:
        if not stopped:
            stopped.append(member.wire.process.pid)
            os.kill(stopped[0], signal.SIGSTOP)
        give(member, part)

    monkeypatch.setattr(pool.ScoringWorker, "give", given)
    yield stopped
    assert stopped and gone(stopped[0])


def test_a_worker_that_hangs_is_replaced_and_its_part_scored(
    poisoned_armorm: Path,
    tmp_path: Path,
    stopped_once: list[int],
    caplog: pytest.LogCaptureFixture,
    write_run: WriteRun,
) -> None:
    inputs = write_run(tmp_path, fish(8), per_part=2) | {"models": {"armo": str(poisoned_armorm)}}
    config = config_of(poisoned_armorm, 1, hang_timeout=3)
    made = run_once(score.STAGE, config, inputs, tmp_path / "scores")
    assert made.rows == read_table(tmp_path / "scores").num_rows == 24
    assert "hung: silent for 3 s" in caplog.text


def test_a_part_whose_scoring_always_hangs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_run: WriteRun
) -> None:
    (tmp_path / "slow_rewards.py").write_text(
        "import time\n"
        "def reward(messages, text):\n"
        "    while '3' in messages[0]['content']:\n"
        "        time.sleep(1)\n"
        "    return 1.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    inputs = write_run(tmp_path, fish(6), per_part=2)
    config = function_config("slow_rewards:reward", hang_timeout=3)
    with pytest.raises(OnPolicyError, match=r"on prompt p0003 crashed .*hung: silent for 3 s"):
        run_once(score.STAGE, config, inputs, tmp_path / "scores")
    assert len(part_paths(tmp_path / "scores")) == 1
