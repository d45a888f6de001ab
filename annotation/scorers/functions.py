"""Reward functions of the user's own, by their names."""

import importlib
from typing import Any

from annotation.config import FunctionConfig
from contracts.errors import UserError


def import_function(annotator: FunctionConfig) -> Any:
    """The function that an annotator names.

    Raises:
        UserError: its module cannot be imported, or it is no function there.
    """
    module, _, name = annotator.function.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UserError(
            f"annotator {annotator.name!r}: {annotator.function} cannot be imported: {error}"
        ) from None
    if not callable(function):
        raise UserError(
            f"annotator {annotator.name!r}: {annotator.function} is of type "
            f"{type(function).__name__}, not a function (messages, response text) -> float"
        )
    return function
