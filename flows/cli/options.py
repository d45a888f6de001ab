"""Options that every command of `onpolicy` has."""

import os
from pathlib import Path
from typing import Annotated

import typer


def _show_tracebacks(on: bool) -> bool:
    if on:
        os.environ["ONPOLICY_DEBUG"] = "1"
    return on


Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", callback=_show_tracebacks)]
"""Takes effect as it is read; a command only names it."""


def local_folder(path: Path | None) -> Path | None:
    """A folder that a command reads or writes here.

    Raises:
        UserError: it is a store's address.
    """
    from contracts.errors import UserError
    from runtime.store.address import refuse_address

    try:
        refuse_address(path)
    except ValueError as error:
        # As a path it has lost a slash.
        raise UserError(f"{str(path).replace(':/', '://', 1)}: {error}") from None
    return path


RunFolder = Annotated[Path, typer.Argument(help="A run's folder.", callback=local_folder)]
