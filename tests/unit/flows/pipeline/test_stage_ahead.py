"""The next stage's process begins ahead: who gets it, and what becomes of one that nobody wants."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gated_run import JUDGED

from flows.pipeline import stage_ahead
from flows.pipeline.config import RunConfig
from flows.pipeline.planning.next_steps import next_steps, with_next
from generation import select
from runtime.child_process import Child
from runtime.stage_process import parse_error


@pytest.fixture(autouse=True)
def nothing_waits_at_the_end() -> Iterator[None]:
    yield
    stage_ahead.stop()


def step(folder: Path) -> Any:
    """A planned step whose step file is none, so that its stage refuses it by name."""
    folder.mkdir()
    (folder / "_step.json").write_text(json.dumps({"of": folder.name}))
    return SimpleNamespace(stage=select.STAGE, out=folder)


def told(child: Child) -> str:
    """What the stage says of the step file that it was given."""
    assert child.stdout
    lines = child.stdout.read().splitlines()
    assert child.wait(60) == 2
    return next(error for line in lines if (error := parse_error(line)))


def test_a_process_that_waits_is_told_its_step_and_takes_no_second_one(tmp_path: Path) -> None:
    stage_ahead.begin(select.STAGE)
    waiting = stage_ahead._Waiting.child
    stage_ahead.begin(select.STAGE)
    assert stage_ahead._Waiting.child is waiting, "one that waits already will do"
    child = stage_ahead.process_of(step(tmp_path / "first"))
    assert child is waiting
    assert f"{tmp_path}/first/_step.json" in told(child)
    another = stage_ahead.process_of(step(tmp_path / "second"))
    assert another is not waiting
    assert f"{tmp_path}/second/_step.json" in told(another)


def test_a_process_that_was_killed_as_it_waited_is_not_missed(tmp_path: Path) -> None:
    stage_ahead.begin(select.STAGE)
    waiting = stage_ahead._Waiting.child
    assert waiting
    waiting.kill()
    waiting.wait()
    assert f"{tmp_path}/a/_step.json" in told(stage_ahead.process_of(step(tmp_path / "a")))


def test_a_folder_whose_name_is_no_text_is_told_as_it_is(tmp_path: Path) -> None:
    stage_ahead.begin(select.STAGE)
    folder = tmp_path / os.fsdecode(b"run-\xff")
    assert f"{folder}/_step.json" in told(stage_ahead.process_of(step(folder)))


def test_a_process_that_is_told_nothing_ends_with_its_run() -> None:
    stage_ahead.begin(select.STAGE)
    waiting = stage_ahead._Waiting.child
    assert waiting and waiting.stdin
    waiting.stdin.close()  # as where the run is killed
    assert waiting.wait(60) == 0


def test_a_machine_without_room_for_one_more_process_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Child:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as full:
        full.setattr(stage_ahead, "start_module", refuse)
        stage_ahead.begin(select.STAGE)
    assert f"{tmp_path}/a/_step.json" in told(stage_ahead.process_of(step(tmp_path / "a")))


def test_each_step_knows_the_next_but_a_gate_which_decides_it(
    settings: Callable[..., RunConfig],
) -> None:
    run = settings(rounds=2, evaluation=JUDGED, gate={})
    steps = [step.path for step in next_steps(run)]
    following = [None if path.endswith("/gate") else after for path, after in pairwise(steps)]
    pairs = [(one.path, after and after.path) for one, after in with_next(next_steps(run))]
    assert pairs == list(zip(steps, [*following, None], strict=True))
