"""Options that every command of `onpolicy` has."""

import os
from typing import Annotated

import typer


def _show_tracebacks(on: bool) -> bool:
    if on:
        os.environ["ONPOLICY_DEBUG"] = "1"
    return on


Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", callback=_show_tracebacks)]
"""Takes effect as it is read; a command only names it."""
