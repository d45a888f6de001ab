"""The source of the user's reward functions: edited, they are others, whatever their names."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from annotation.annotators.function import FunctionConfig
from contracts.errors import UserError
from contracts.steps import fingerprint

_CHECKOUT = str(Path(__file__).parents[2])


def source_of(annotator: FunctionConfig) -> str:
    """Fingerprint of the file of the function's module; nothing is imported. A module without a
    file of its own is Python's own and stands for itself.

    Raises:
        UserError: there is no such module.
    """
    module = annotator.function.partition(":")[0]
    spec = _find(module)
    if spec is None:
        raise UserError(
            f"annotator {annotator.name!r}: no module {module} is found in {Path.cwd()} or on "
            "PYTHONPATH; is it misspelt, or does it lie elsewhere?"
        )
    return fingerprint.of_file(Path(spec.origin)) if spec.has_location and spec.origin else module


def _find(module: str) -> ModuleSpec | None:
    """The module as a stage's process finds it, whose path begins with the working folder."""
    importlib.invalidate_caches()  # the file may be new
    paths: Sequence[str] | None = [os.getcwd(), _CHECKOUT, *sys.path]
    name, spec = "", None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, paths)
        if spec is None:
            return _find_otherwise(module)
        paths = spec.submodule_search_locations
    return spec


def _find_otherwise(module: str) -> ModuleSpec | None:
    """One that is built in, or installed in a way of its own."""
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
