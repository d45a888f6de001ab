"""The grid of a sweep, and the page that compares its points."""

import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import CHECKOUT

from contracts.config.base import load_config
from contracts.errors import FolderBusy, Interrupted, OnPolicyError, Terminated, UserError
from contracts.steps.lock import folder_lock
from flows import sweep as sweep_module
from flows.pipeline.config import RunConfig
from flows.pipeline.console import console
from flows.pipeline.folder.run_folder import make_folder
from flows.pipeline.load_run import load_run
from flows.sweep import points, run_points, run_sweep, write_comparison
from runtime.signals import interruptible

DEMO = CHECKOUT / "configs" / "demo.yaml"


def test_a_grid_is_every_combination_in_order() -> None:
    assert points(["a=1,2", "b.c=x"]) == [["a=1", "b.c=x"], ["a=2", "b.c=x"]]


@pytest.mark.parametrize("entry", ["rounds", "=1", "seed="])
def test_an_entry_without_key_or_value_is_refused(entry: str) -> None:
    with pytest.raises(UserError, match="key=value,value"):
        points([entry])


def test_one_run_by_several_names_is_refused() -> None:
    with pytest.raises(UserError, match="leave `name` to the sweep"):
        run_sweep(DEMO, [], ["name=a,b"])


def test_a_gate_that_asks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gate.worse: ask \(seed=2\): a sweep waits for nobody"):
        run_sweep(DEMO, [f"runs_dir={tmp_path}", "gate={worse: ask}"], ["seed=2"])
    assert not [*tmp_path.iterdir()]


def test_a_point_that_another_process_writes_to_is_told_before_any_point_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "preload", lambda _steps: None)
    monkeypatch.setattr(sweep_module, "refuse_unready", lambda _run: None)  # it needs the models
    overrides, grid = [f"runs_dir={tmp_path}"], ["seed=1,2"]
    busy = load_run(DEMO, [*overrides, "seed=2"])
    make_folder(busy)
    with folder_lock(busy.folder), pytest.raises(FolderBusy, match=busy.name):
        run_sweep(DEMO, overrides, grid)
    assert not [*tmp_path.glob("*/config.yaml")]


def test_the_page_escapes_what_a_config_says_and_sorts_by_gain(tmp_path: Path) -> None:
    row = {"run": "r", "annotator": "armorm", "reward": 1.0, "low": 0.0, "high": 1.0,
           "at_lowest": 0.0, "at_highest": 1.0, "unscored": 0.25,
           "loss": None, "margin": 0.5}  # fmt: skip
    rows = [row | {"point": "worse", "mean": 0.1}, row | {"point": "<b>best</b>", "mean": 0.9}]
    page = write_comparison(tmp_path / "sweep", rows).read_text()
    table = page[page.index("<table") :]
    assert "&lt;b&gt;best&lt;/b&gt;" in table and "<b>" not in table
    assert "25.0 %" in table
    assert table.index("&lt;b&gt;best") < table.index("worse")


def test_the_page_has_the_reports_colours_in_the_light_and_in_the_dark(tmp_path: Path) -> None:
    page = write_comparison(tmp_path / "sweep", []).read_text()
    style = (CHECKOUT / "flows" / "report" / "templates" / "style.css").read_text()
    assert "prefers-color-scheme: dark" in style and style.strip() in page


def test_a_point_that_fails_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    config = load_config(RunConfig, DEMO, [f"runs_dir={tmp_path}"])
    points = {
        label: config.model_copy(update={"name": label}).model_dump(mode="json")
        for label in ("a", "b", "c")
    }
    ran = []

    def run(point: dict[str, Any]) -> None:
        ran.append(point["name"])
        raise OnPolicyError(f"step 3: the loss is <nan> in {point['name']}")

    rows = [*run_points(points, run)]
    assert ran == ["a", "b", "c"]
    assert rows[1] == {"point": "b", "run": "b", "failed": "step 3: the loss is <nan> in b"}

    page = write_comparison(tmp_path / "sweep", rows).read_text()
    assert "step 3: the loss is &lt;nan&gt; in b" in page
    assert yaml.safe_load((tmp_path / "sweep" / "comparison.yaml").read_text()) == rows


@pytest.mark.parametrize(("error", "told"), [
    (OSError(28, "No space left on device", "part"), "the disk is full (part); free some space"),
    (ValueError("no such thing"), "ValueError: no such thing"),
], ids=str)  # fmt: skip
def test_a_point_may_fail_by_any_error(tmp_path: Path, error: Exception, told: str) -> None:
    config = load_config(RunConfig, DEMO, [f"runs_dir={tmp_path}"]).model_dump(mode="json")

    def run(point: dict[str, Any]) -> None:
        raise error

    rows = [*run_points({"a": config, "b": config}, run)]
    assert [row["point"] for row in rows] == ["a", "b"]
    assert all(row["failed"].startswith(told) for row in rows)


def test_a_point_whose_results_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    config = load_config(RunConfig, DEMO, [f"runs_dir={tmp_path}"]).model_dump(mode="json")
    rows = [*run_points({"a": config, "b": config}, lambda point: None)]
    assert [row["point"] for row in rows if row["failed"]] == ["a", "b"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_or_sigterm_ends_the_sweep_at_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    config = load_config(RunConfig, DEMO, [f"runs_dir={tmp_path}"]).model_dump(mode="json")
    ran = []

    def run(point: dict[str, Any]) -> None:
        ran.append(point)
        signal.raise_signal(number)

    with pytest.raises((Interrupted, Terminated)), interruptible():
        list(run_points({"a": config, "b": config}, run))
    assert len(ran) == 1


def test_each_point_begins_with_its_name(tmp_path: Path) -> None:
    config = load_config(RunConfig, DEMO, [f"runs_dir={tmp_path}"]).model_dump(mode="json")
    points = {"seed=1": config, "seed=2": config | {"name": "other"}}
    with console.capture() as captured:
        list(run_points(points, lambda point: None))
    assert "point 1 of 2: seed=1 (demo)\n" in captured.get()
    assert "point 2 of 2: seed=2 (other)\n" in captured.get()
