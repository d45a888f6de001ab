"""The command line: what each command takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from flows.cli.app import app


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name, command


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "browse",
        "prune",
        "report",
        "export",
        "export runs/demo/round-1",
        "decide",
        "pull demo --store s3://bucket/runs --into",
        "evaluate runs/demo/round-1/policy --out",
        "judge answers.json --out",
    ],
)
def test_a_command_that_reads_or_writes_a_folder_here_says_so_of_one_in_a_store(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    more = {"export": ["new"], "decide": ["round-1", "stop"]}.get(command, [])
    ended = CliRunner().invoke(app, [*command.split(), "s3://bucket/runs/demo", *more])
    assert "a folder of this machine" in " ".join(str(ended.exception).split())
    assert not [*tmp_path.iterdir()]


def test_every_command_that_can_fail_shows_its_traceback_where_that_is_asked_for() -> None:
    options = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in commands(typer.main.get_command(app))
    }
    assert "tune lr" in options and "inspect" in options
    assert [name for name, known in options.items() if "--debug" not in known] == ["schema"]
