"""Configs that score with worker processes, and prompts for them."""

from pathlib import Path
from typing import Any

from annotation.config import ScoreConfig


def config_of(model: Path, workers: int, **resources: Any) -> ScoreConfig:
    armorm = {"kind": "armorm", "name": "armo", "path": str(model), "max_length": 512}
    resources = {"device": "cpu", "workers": workers, **resources}
    return ScoreConfig.model_validate({"annotators": [armorm], "resources": resources})


def fish(count: int) -> list[str]:
    return [f"name {i} {'red ' * (i % 9)}fish" for i in range(count)]


def function_config(function: str, **resources: Any) -> ScoreConfig:
    annotator = {"kind": "function", "name": "moody", "function": function}
    resources = {"workers": 1, **resources}
    return ScoreConfig.model_validate({"annotators": [annotator], "resources": resources})
