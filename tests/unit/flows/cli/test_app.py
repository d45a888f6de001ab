"""The command line: what each command takes."""

from collections.abc import Iterator
from typing import Any

import typer

from flows.cli.app import app


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield path + name, command


def test_every_command_that_can_fail_shows_its_traceback_where_that_is_asked_for() -> None:
    options = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in commands(typer.main.get_command(app))
    }
    assert "tune lr" in options and "inspect" in options
    assert [name for name, known in options.items() if "--debug" not in known] == ["schema"]
