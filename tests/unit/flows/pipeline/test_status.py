"""`onpolicy status`: a run's stages, told by its folder alone."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from checkout import CHECKOUT
from made_run import made
from prefect.exceptions import TerminationSignal
from typer.testing import CliRunner

from contracts.errors import OnPolicyError, UserError
from contracts.steps.lock import folder_lock
from flows import on_policy
from flows.cli.app import app
from flows.explore.status import as_json, as_text, status
from flows.pipeline.config import RunConfig
from flows.pipeline.console import console
from flows.pipeline.folder.progress import PROGRESS, StepRecord, record_plan
from flows.pipeline.folder.run_folder import claim_run
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.planned_step import PlannedStep
from flows.prefect_.stop import refuse_stopped
from runtime.progress import Reading
from runtime.signals import Sigterm


@pytest.fixture
def run(settings: Callable[..., RunConfig]) -> RunConfig:
    """A run of one round, claimed, its steps recorded, nothing done."""
    config = settings(rounds=1)
    config.folder.mkdir(parents=True)
    config = claim_run(config)
    record_plan(config.folder, plan(config))
    return config


def first(run: RunConfig) -> PlannedStep:
    return plan(run)[0]


def test_nothing_is_done_yet(run: RunConfig) -> None:
    told = status(run.folder)
    assert told.state == "stopped" and told.done == 0
    assert {stage.state for stage in told.stages} == {"to do"}


def test_a_finished_run_is_done_with_its_rows(run: RunConfig) -> None:
    made(run)
    told = status(run.folder)
    assert told.state == "done" and told.done == len(plan(run))
    assert "done" in as_text(told) and "1 rows" in as_text(told)
    narrow = as_text(told, 44).splitlines()
    assert max(map(len, narrow[1:])) <= 44  # the first is a path
    assert len(narrow) > len(as_text(told).splitlines())


def test_a_stage_that_runs_tells_its_rate_and_the_time_left(run: RunConfig) -> None:
    record = StepRecord(first(run))
    record.update(Reading(done=30, total=30, unit="rows", resumed=10, seconds=10.0))
    with folder_lock(run.folder):
        told = status(run.folder)
    assert told.state == "running" and told.holder and told.holder.startswith("process ")
    assert told.stages[0].state == "running" and "30/30 rows, 2 rows/s" in as_text(told)
    assert {stage.state for stage in told.stages[1:]} == {"to do"}


def test_a_stage_on_a_cluster_tells_its_workers_by_node(run: RunConfig) -> None:
    workers = {f"node 10.0.0.{number}": 8 for number in range(1, 11)} | {"node 10.0.0.1": 7}
    reading = Reading(30, 30, "rows", 10, 10.0, workers=workers, shares={"node 10.0.0.1": 1.0})
    StepRecord(first(run)).update(reading)
    with folder_lock(run.folder):
        told = status(run.folder)
    assert "79 workers (node 10.0.0.1: 7, node 10.0.0.2: 8, " in as_text(told)
    assert "node 10.0.0.8: 8, 2 more nodes)" in as_text(told)
    assert json.loads(as_json(told))["stages"][0]["reading"]["workers"] == workers


def test_a_stage_whose_process_was_killed_is_stopped_not_running(run: RunConfig) -> None:
    StepRecord(first(run))
    told = status(run.folder)
    assert told.state == "stopped" and told.stages[0].state == "stopped"


def test_the_last_error_is_told_until_the_stage_is_done(run: RunConfig) -> None:
    StepRecord(first(run)).fail(OnPolicyError("the disk is full"))
    told = status(run.folder)
    assert told.state == "failed" and "the disk is full" in as_text(told)
    StepRecord(first(run)).fail(OnPolicyError("the disk is full, " * 9))
    narrow = as_text(status(run.folder), 44).splitlines()
    assert max(map(len, narrow[1:])) <= 44  # the first is a path
    made(run)
    assert "the disk is full" not in as_text(status(run.folder))


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Sigterm(), TerminationSignal(15)])
def test_a_stage_that_was_interrupted_is_stopped_not_failed(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    """Nor has it crashed: its task is Cancelled in Prefect, and the flow ends with the signal."""
    monkeypatch.setattr(on_policy, "run_step", Mock(side_effect=stop))
    monkeypatch.setattr(on_policy, "get_run_logger", Mock())
    ended = on_policy.run_stage.fn(first(run))
    assert ended is not None and ended.is_cancelled() and ended.name == "Stopped"
    with pytest.raises(type(stop)):
        refuse_stopped(ended)
    told = status(run.folder)
    assert told.stages[0].state == "stopped" and told.stages[0].error is None


def test_a_run_that_is_claimed_again_has_left_its_last_error_behind(run: RunConfig) -> None:
    StepRecord(first(run)).fail(OnPolicyError("the disk is full"))
    with folder_lock(run.folder):
        claim_run(run)
        told = status(run.folder)
    assert told.state == "running" and {stage.state for stage in told.stages} == {"to do"}


@pytest.mark.parametrize(
    "change", [{"reading": {"done": 1}}, {"started": None}, {"path": 1}, {"error": 3}]
)
@pytest.mark.parametrize("is_left_out", [False, True])
def test_a_record_that_lacks_a_field_counts_as_none(
    run: RunConfig, change: dict[str, object], is_left_out: bool
) -> None:
    StepRecord(first(run))
    path = run.folder / PROGRESS
    said = json.loads(path.read_text())
    whole = said | change
    for name in change if is_left_out else ():
        del whole[name]
    path.write_text(json.dumps(whole))
    assert status(run.folder).stages[0].state == "to do"


def test_a_record_that_could_not_be_written_leaves_no_file(run: RunConfig) -> None:
    (run.folder / PROGRESS).mkdir()  # as a full disk: the new record cannot take its place
    before = sorted(run.folder.rglob("*"))
    StepRecord(first(run))
    assert sorted(run.folder.rglob("*")) == before


def test_a_gate_that_asks_says_that_it_waits(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{}")
    gate = {"path": "round-1/gate", "title": "round 1: decide what follows"}
    (tmp_path / ".plan.json").write_text(json.dumps([gate]))
    (tmp_path / "round-1").mkdir()
    (tmp_path / "round-1" / "question.json").write_text("{}")
    assert status(tmp_path).state == "waits" and "onpolicy decide" in as_text(status(tmp_path))
    (tmp_path / "round-1" / "answer.json").write_text("{}")
    assert status(tmp_path).state == "stopped"


def test_a_copy_without_hidden_files_is_told_by_its_config(run: RunConfig) -> None:
    (run.folder / ".plan.json").unlink()
    assert len(status(run.folder).stages) == len(plan(run))


def test_a_folder_that_is_no_run_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run lies here.*runs/demo"):
        status(tmp_path)


def test_programs_read_the_same_as_json(run: RunConfig) -> None:
    StepRecord(first(run)).update(Reading(done=2, total=2, unit="rows", resumed=0, seconds=4.0))
    told = json.loads(CliRunner().invoke(app, ["status", str(run.folder), "--json"]).stdout)
    assert told["of"] == len(told["stages"]) and told["stages"][0]["reading"]["rate"] == 0.5


def test_it_imports_nothing_heavy_and_writes_nothing(run: RunConfig) -> None:
    before = sorted(run.folder.rglob("*"))
    heavy = "{'pyarrow', 'prefect', 'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    code = (
        "import sys; from pathlib import Path; from flows.explore.status import as_text, status;"
        f"as_text(status(Path({str(run.folder.absolute())!r}))); assert not {heavy}, {heavy}"
    )
    subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=True)
    assert sorted(run.folder.rglob("*")) == before


PAIRS = "round-1/pairs"


def spoil_gone(folder: Path) -> None:
    (folder / "part-00000.parquet").unlink()


def spoil_cut(folder: Path) -> None:
    (folder / "part-00000.parquet").write_text("cut")


def spoil_fields(folder: Path) -> None:
    (folder / "_manifest.json").write_text('{"files": {}, "sizes": {}}')


def spoil_manifest(folder: Path) -> None:
    (folder / "_manifest.json").write_text("{")


@pytest.mark.parametrize(("spoil", "told"), [
    (spoil_gone, "part-00000.parquet is gone; put back what was changed, or make it anew"),
    (spoil_cut, "part-00000.parquet was 32 bytes when the stage finished, is 3 now"),
    (spoil_manifest, "_manifest.json is damaged"),
    (spoil_fields, "_manifest.json is damaged"),
])  # fmt: skip
def test_a_stage_with_a_file_gone_or_cut_is_damaged_with_the_way_out(
    run: RunConfig, spoil: Callable[[Path], None], told: str
) -> None:
    made(run)
    spoil(run.folder / PAIRS)
    said = CliRunner().invoke(app, ["status", str(run.folder)])
    text = " ".join(said.stdout.split())  # a long path takes a line of its own
    assert said.exit_code == 1 and f"{run.folder}: damaged" in text
    assert told in text and f"with `--redo {PAIRS}`" in text
    assert [stage.path for stage in status(run.folder).stages if stage.state == "damaged"] == [
        PAIRS
    ]


def test_a_report_of_a_damaged_run_warns(run: RunConfig) -> None:
    made(run)
    spoil_gone(run.folder / PAIRS)
    with console.capture() as shown:
        CliRunner().invoke(app, ["report", str(run.folder)])
    assert f"warning: {run.folder / PAIRS}: part-00000.parquet is gone" in shown.get()
