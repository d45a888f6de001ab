"""Copies of models for a process that does not see them where they are named."""

import json
import os
from collections.abc import Mapping

_VARIABLE = "ONPOLICY_MODEL_COPIES"


def environment_for(copies: Mapping[str, str]) -> dict[str, str]:
    """What tells a process where models lie for it.

    Args:
        copies: folders, by the models' names.
    """
    return {_VARIABLE: json.dumps(dict(copies))}


def located(reference: str) -> str:
    """Where this process finds a model: its copy here if it was given one, else where it is
    named."""
    copies: dict[str, str] = json.loads(os.environ.get(_VARIABLE, "{}"))
    return copies.get(reference, reference)
