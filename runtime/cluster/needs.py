"""What every node must have in common with machine 0, as it is asked on the node itself."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from contracts.config.packages import loaded_packages
from contracts.errors import OnPolicyError, UserError
from contracts.models.hub import is_hub_id
from contracts.steps import fingerprint
from contracts.steps.manifest import versions
from runtime.store.objects import Objects

_SOURCES = ("annotation", "contracts", "generation", "runtime", "training")
"""The packages that workers and training processes run, beside each other."""

_SHARE = (
    "put models and the run's folder where all nodes see them under the same path; or name a "
    "model by its hub id, or set resources.store, from which nodes fetch models"
)
# Of the store, asked whether it answers at all.
_RETRIES, _SECONDS = 1, 20.0


def needs_of(
    models: Iterable[str], files: Iterable[Path], store: str | None = None
) -> dict[str, Any]:
    """What workers of this process need of a node, as JSON.

    Args:
        models: folders, or hub ids, which the node downloads itself.
        files: files that must be the same there.
        store: address from which a node fetches the folders that it lacks.

    What packages of variants are asked for are those whose variants this process has loaded.
    """
    references = [model for model in dict.fromkeys(models) if model]
    folders = {model: Path(model).absolute() for model in references if not is_hub_id(model)}
    beside = _installed(["ray", *loaded_packages()])
    inputs = [*(path.absolute() for path in files), *folders.values()]
    return {
        "versions": _versions(beside),
        "beside": list(beside),
        "inputs": {str(path): _fingerprint(path) for path in inputs},
        "models": [model for model in references if is_hub_id(model)],
        "folders": {model: str(path) for model, path in folders.items()},
        "store": store,
        "stored": {},
        "folder": str(Path.cwd()),
    }


def _fingerprint(path: Path) -> str:
    """What a step's identity has of a file or a model, large weights by 64 MiB each; empty where
    it cannot be read."""
    try:
        return fingerprint.of_input(str(path.absolute()))
    except (OSError, UserError):
        return ""


def _versions(beside: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of packages, and of our own sources."""
    python = {"Python": platform.python_version(), "onpolicy": _sources()}
    return versions() | _installed(beside) | python


def _installed(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those of the packages that are installed."""
    installed = {}
    for name in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


@cache
def _sources() -> str:
    """A hash of the code that workers run: a checkout's version stays as its files change."""
    root = Path(__file__).parents[2]
    files = [path for name in _SOURCES for path in sorted((root / name).rglob("*.py"))]
    return fingerprint.of_json(
        {str(path.relative_to(root)): fingerprint.of_file(path) for path in files}
    )[:12]


def unmet(needs: str) -> str:
    """What this machine lacks of `needs`, as JSON: `faults` in words, and `lacking`, the models'
    folders that it fetches from the store.

    It moves to machine 0's folder, from which an adapter's base may be named.
    """
    asked = json.loads(needs)
    with suppress(OSError):
        os.chdir(asked["folder"])
    lacking = [path for path in asked["folders"].values() if not os.path.exists(path)]
    told = {"faults": [*_faults(asked)], "lacking": lacking if asked["store"] else []}
    return json.dumps(told)


def _faults(needs: dict[str, Any]) -> Iterator[str]:
    here, there = _versions(needs["beside"]), needs["versions"]
    for name in sorted(here.keys() | there.keys()):
        ours, theirs = here.get(name, "none"), there.get(name, "none")
        if ours != theirs:
            yield f"has {name} {ours} where machine 0 has {theirs}: install the same set"
    for path, known in needs["inputs"].items():
        if not os.path.exists(path):
            if fault := _why_not_fetched(path, needs):
                yield f"lacks {path}{fault}"
        elif _fingerprint(Path(path)) != known:
            yield f"has another {path} than machine 0; {_SHARE}"


def _why_not_fetched(path: str, needs: dict[str, Any]) -> str:
    """Why this node cannot have what it lacks from the store; empty if it can."""
    if path not in needs["folders"].values() or not needs["store"]:
        return f"; {_SHARE}"
    try:
        Objects(needs["store"], _RETRIES, _SECONDS).folders()
    except OnPolicyError as error:
        return f", and cannot fetch it: {error}; a store's credentials are set on each node"
    return ""
