"""What every node must have in common with machine 0, as it is asked on the node itself."""

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from contracts.models.hub import is_hub_id
from contracts.steps.manifest import versions

_SHARE = (
    "put models and the run's folder where all nodes see them under the same path, or name a "
    "model by its hub id"
)


def needs_of(models: Iterable[str], files: Iterable[Path]) -> dict[str, Any]:
    """What workers of this process need of a node, as JSON.

    Args:
        models: folders, or hub ids, which the node downloads itself.
        files: files that must be the same there.
    """
    references = [model for model in dict.fromkeys(models) if model]
    folders = [Path(model) for model in references if not is_hub_id(model)]
    known = [*files, *(_identifying(folder) for folder in folders)]
    return {
        "python": platform.python_version(),
        "versions": versions(),
        "files": {str(path.absolute()): _digest(path) for path in known},
        "models": [model for model in references if is_hub_id(model)],
        "folder": str(Path.cwd()),
    }


def _identifying(model: Path) -> Path:
    """The file that tells one model's folder from another's."""
    names = ("config.json", "adapter_config.json")
    return next((model / name for name in names if (model / name).exists()), model / names[0])


def _digest(path: Path) -> str:
    """A file's hash; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def unmet(needs: str) -> str:
    """What this machine lacks of `needs`, each in words: a JSON list."""
    return json.dumps([*_unmet(json.loads(needs))])


def _unmet(needs: dict[str, Any]) -> Iterator[str]:
    here = {"Python": platform.python_version(), **versions()}
    there = {"Python": needs["python"], **needs["versions"]}
    for name in sorted(here.keys() | there.keys()):
        ours, theirs = here.get(name, "none"), there.get(name, "none")
        if ours != theirs:
            yield f"has {name} {ours} where machine 0 has {theirs}: install the same set"
    for path, digest in needs["files"].items():
        if not os.path.exists(path):
            yield f"lacks {path}; {_SHARE}"
        elif _digest(Path(path)) != digest:
            yield f"has another {path} than machine 0; {_SHARE}"
