"""Scoring killed at 50 seeded moments, workers and the stage itself: the tables stay the same."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from checkout import CHECKOUT

from annotation import score
from annotation.config import ScoreConfig
from contracts.steps.manifest import Manifest, read_manifest
from contracts.steps.step import claim, run_once
from contracts.tables.parts import part_paths

pytestmark = pytest.mark.engine

WriteRun = Callable[..., dict[str, str]]

KILLS = 50


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers share the cores with each other and with us."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def config_of(model: Path, workers: int) -> ScoreConfig:
    armorm = {"kind": "armorm", "name": "armo", "path": str(model), "max_length": 512}
    resources = {"device": "cpu", "workers": workers}
    return ScoreConfig.model_validate({"annotators": [armorm], "resources": resources})


class Chaos:
    """A stage, started as often as it is killed; each kill is at a seeded moment."""

    def __init__(
        self, out: Path, seed: int, kills: int, workers_of: Callable[[int], list[int]]
    ) -> None:
        self._out = out
        self._workers_of = workers_of
        self._random = Random(seed)
        self.left = kills
        self.stages = 0

    def run(self) -> Manifest:
        while self._kill_or_finish(self._start()):
            self.stages += 1
        manifest = read_manifest(self._out)
        assert manifest is not None
        return manifest

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "annotation.score", str(self._out / "_step.json")],
            cwd=CHECKOUT, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def _kill_or_finish(self, stage: subprocess.Popen[bytes]) -> bool:
        """Whether the stage was killed itself."""
        due = len(part_paths(self._out)) + 1
        while stage.poll() is None:
            time.sleep(self._random.uniform(0.0, 0.02))
            workers = self._workers_of(stage.pid)
            if not self.left or not workers or len(part_paths(self._out)) < due:
                continue
            due = len(part_paths(self._out)) + self._random.randint(1, 3)
            if self._random.random() < 0.1:
                self.left -= 1
                stage.kill()
                stage.wait()
                return True
            with suppress(ProcessLookupError):  # it was done first
                os.kill(self._random.choice(workers), signal.SIGKILL)
                self.left -= 1
        assert stage.stderr is not None
        assert stage.returncode == 0, stage.stderr.read().decode()
        return False


def test_fifty_kills_of_workers_and_of_the_stage_change_no_byte(
    poisoned_armorm: Path,
    tmp_path: Path,
    workers_of: Callable[[int], list[int]],
    write_run: WriteRun,
) -> None:
    texts = [f"name {i} {'red ' * (i % 9)}fish" for i in range(240)]
    inputs = write_run(tmp_path, texts, per_part=2) | {"models": {"armo": str(poisoned_armorm)}}
    whole = run_once(score.STAGE, config_of(poisoned_armorm, 0), inputs, tmp_path / "whole")
    kills, seed, stages = 0, 0, 0
    started = time.monotonic()
    while kills < KILLS:
        out = tmp_path / f"killed-{seed}"
        claim(score.STAGE, config_of(poisoned_armorm, 2), inputs, out)
        chaos = Chaos(out, seed, KILLS - kills, workers_of)
        killed = chaos.run()
        assert (killed.files, killed.rows, killed.facts) == (whole.files, whole.rows, whole.facts)
        kills, seed, stages = KILLS - chaos.left, seed + 1, stages + chaos.stages
    print(f"{KILLS} kills, {stages} of the stage, {seed} runs, {time.monotonic() - started:.1f} s")
    assert 0 < stages < KILLS
