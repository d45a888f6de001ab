"""Reward functions of the user's own, by their names."""

import importlib
import inspect
import traceback
from typing import Any

from annotation.annotators.function import FunctionConfig
from contracts.errors import UserError, named_first_line


def import_function(annotator: FunctionConfig) -> Any:
    """The function that an annotator names.

    Raises:
        UserError: its module cannot be imported, or it is no function there, or it takes other
            arguments.
    """
    module, _, name = annotator.function.partition(":")
    called = f"annotator {annotator.name!r}: {annotator.function}"
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UserError(f"{called} cannot be imported: {error}{_place(error)}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything
        text = named_first_line(error)
        raise UserError(f"{called} cannot be imported: {text}{_place(error)}") from None
    if not callable(function):
        raise UserError(
            f"{called} is of type {type(function).__name__}, not a function (messages, response "
            "text) -> float"
        )
    _refuse_other_arguments(function, called)
    return function


def _refuse_other_arguments(function: Any, called: str) -> None:
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # written in C, say: nothing is known of it
        return
    try:
        signature.bind([], "")
    except TypeError as error:
        raise UserError(
            f"{called}{signature} cannot be called as (messages, response text): {error}"
        ) from None


def _place(error: BaseException) -> str:
    """Where the user's code raised it, ` (FILE:LINE)`; empty where none of it ran."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, importlib.__file__)
        and not frame.filename.startswith("<frozen")
    ]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
