"""A run's folder: what is wrong with it is told before anything is started."""

from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import CHECKOUT
from made_run import made, make

from contracts.config.base import load_config
from contracts.errors import FolderBusy, UserError
from contracts.steps import lock
from flows.cli import run as cli
from flows.cli.run import run_config
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import claim_run, is_finished, make_folder
from flows.report.html import write_report
from flows.tune.source import read_source

DEMO = CHECKOUT / "configs" / "demo.yaml"


def config(runs: Path) -> RunConfig:
    return load_config(RunConfig, DEMO, [f"runs_dir={runs}"])


@pytest.mark.parametrize("where", ["/proc/runs", "{file}/runs", "{file}", "/dev/null"])
def test_a_folder_that_cannot_be_made_is_refused_before_a_server_starts(
    tmp_path: Path, where: str
) -> None:
    (tmp_path / "file").touch()
    runs = where.format(file=tmp_path / "file")
    with pytest.raises(UserError) as refused:
        run_config(DEMO, [f"runs_dir={runs}"])
    assert str(refused.value).startswith(f"{runs}/demo: cannot be made or written to (")
    assert "`runs_dir`" in str(refused.value)


def test_a_folder_that_another_run_writes_to_is_told_before_a_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_LOCK_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(cli, "Looking", lambda *_: pytest.fail("the models were looked at"))
    monkeypatch.setattr(cli, "ensure_server", lambda: pytest.fail("a server was started"))
    run = config(tmp_path)
    make_folder(run)
    with lock.folder_lock(run.folder), pytest.raises(FolderBusy, match="is writing here"):
        run_config(DEMO, [f"runs_dir={tmp_path}"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [demo\n", ":2: not valid YAML: "),
        ("rounds: 2\n", ": key 'name' is missing"),
        ("", ": holds no keys"),
    ],
)
def test_a_broken_config_in_the_runs_folder_is_named(tmp_path: Path, text: str, said: str) -> None:
    run = config(tmp_path)
    make_folder(run)
    (run.folder / "config.yaml").write_text(text)
    with pytest.raises(UserError) as refused:
        is_finished(run)
    assert str(refused.value).startswith(f"{run.folder / 'config.yaml'}{said}")
    assert "move it away and give the same `onpolicy run` again" in str(refused.value)
    for read in (write_report, lambda folder: read_source(folder, [])):
        if said != ": key 'name' is missing":  # a page shows any keys
            with pytest.raises(UserError, match="move it away"):
                read(run.folder)


def test_a_damaged_config_that_was_moved_away_is_written_anew_and_nothing_is_lost(
    settings: Callable[..., RunConfig],
) -> None:
    run = made(settings())
    path = run.folder / "config.yaml"
    before = path.read_text()
    path.unlink()
    assert make(claim_run(settings())) == []
    assert path.read_text() == before
