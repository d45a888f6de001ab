"""Which run a folder here and a run's place in a store belong to: each run has an id."""

import json
from pathlib import Path

from contracts.tables.parts import write_atomic
from runtime.store.objects import Objects

OBJECT = "_run.json"
_HERE = ".store.json"


def id_here(folder: Path) -> str | None:
    """The id of the run in a folder; None before it has met its store."""
    return _id_in((folder / _HERE).read_bytes()) if (folder / _HERE).is_file() else None


def write_id(folder: Path, run: str) -> None:
    """From here on the run in `folder` is the store's of that id."""
    write_atomic(folder / _HERE, json.dumps({"run": run}).encode())


def run_of(objects: Objects, folder: Path) -> Path | None:
    """The run's folder that a folder lies in, if the store knows that run.

    Raises:
        StoreError: the store cannot say.
    """
    for run in folder.absolute().parents:
        if known := id_here(run):
            record = objects.read(f"{run.name}/{OBJECT}")
            return run if record and _id_in(record) == known else None
    return None


def _id_in(record: bytes) -> str | None:
    try:
        return str(json.loads(record)["run"])
    except (ValueError, KeyError, TypeError):
        return None
