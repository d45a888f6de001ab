"""Trackers: by config, outside the result's identity, each step once also after a resume."""

import importlib.util
from pathlib import Path

import pytest

from contracts.config.base import apply_overrides, check, identity
from contracts.config.packages import packages_in
from contracts.config.variants import PACKAGES
from contracts.errors import UserError
from training.config import TrainConfig
from training.monitor.metrics import MetricsLog
from training.trackers.base import TrackedRun
from training.trackers.tensorboard import FOLDER, TensorBoardTracker
from training.trackers.tracking import Tracking
from training.trackers.trackio import TrackioTracker
from training.trackers.wandb import WandbTracker

TRACKERS = [TensorBoardTracker()]


def config(text: str) -> TrainConfig:
    return check(TrainConfig, apply_overrides({}, [f"trackers={text}"]), origin="test")


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Metric to (step, value), read from every event file as TensorBoard does."""
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

    found = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    values: dict[str, list[tuple[int, float]]] = {}
    for run, kinds in found.Runs().items():
        for tag in kinds["tensors"]:
            for event in found.Tensors(run, tag):
                values.setdefault(tag, []).append((event.step, event.tensor_proto.float_val[0]))
    return values


def track(out: Path, done: int, steps: range) -> None:
    """A process that goes on after `done` steps of the one before it."""
    log = MetricsLog(out, done)
    run = TrackedRun(out, {"learning_rate": 1e-3}, resumed=bool(log.before))
    tracking = Tracking(TRACKERS, run, log.before)
    for step in steps:
        metrics = {"loss": 1 / step, "rewards/margins": float(step)}
        log.add(step, metrics)
        tracking.log(step, metrics)
    tracking.finish()


def test_a_name_stands_for_a_tracker_with_its_defaults() -> None:
    assert config("[tensorboard]").trackers == TRACKERS
    mine = WandbTracker(project="mine")
    assert config("[{kind: wandb, project: mine}]").trackers == [mine]


def test_an_unknown_tracker_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"trackers.*'tensorboard', 'wandb', 'trackio'"):
        config("[tensorbored]")


def test_trackers_are_no_part_of_the_results_identity() -> None:
    assert identity(config("[tensorboard]")) == identity(TrainConfig())


def test_nor_is_the_package_that_a_tracker_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, TensorBoardTracker, "our-tracker 1.0")
    assert packages_in(config("[tensorboard]")) == {}


def test_each_step_is_shown_once_under_the_fields_names(tmp_path: Path) -> None:
    track(tmp_path, 0, range(1, 5))
    track(tmp_path, 2, range(3, 8))  # killed after step 4, its last checkpoint held 2
    found = points(tmp_path)
    assert [step for step, _ in found["loss"]] == [1, 2, 3, 4, 5, 6, 7]
    assert found["rewards/margins"] == [(step, float(step)) for step in range(1, 8)]
    assert all(path.name == FOLDER for path in tmp_path.iterdir() if path.is_dir())


def test_a_run_made_anew_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    track(tmp_path, 0, range(1, 5))
    (tmp_path / "metrics.jsonl").unlink()
    track(tmp_path, 0, range(1, 3))
    assert [step for step, _ in points(tmp_path)["loss"]] == [1, 2]


def test_no_tracker_writes_nothing(tmp_path: Path) -> None:
    tracking = Tracking([], TrackedRun(tmp_path, {}, resumed=False), [])
    tracking.log(1, {"loss": 1.0})
    tracking.finish()
    assert not list(tmp_path.iterdir())


def test_a_tracker_that_is_not_installed_is_refused_with_the_command() -> None:
    if importlib.util.find_spec("trackio"):
        pytest.skip("trackio is installed here")
    with pytest.raises(UserError, match=r"is not installed; .* pip install -e '.\[trackio\]'"):
        TrackioTracker().refuse_unready()


def test_wandb_asks_for_its_key_unless_it_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(UserError, match="WANDB_API_KEY, or WANDB_MODE=offline"):
        WandbTracker().refuse_unready()
    monkeypatch.setenv("WANDB_MODE", "offline")
    WandbTracker().refuse_unready()
