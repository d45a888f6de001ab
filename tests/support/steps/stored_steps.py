"""Small finished steps for a store, and what a folder of one holds."""

import json
from pathlib import Path

from contracts.steps.manifest import Manifest, Result, write_manifest


def made_step(folder: Path, text: str = "fish", parts: int = 3) -> Path:
    """A finished step of a few parts."""
    begun_step(folder, text, parts)
    write_manifest(folder, "test.texts", Result(rows=parts), Manifest.clock())
    return folder


def begun_step(folder: Path, text: str = "fish", parts: int = 3) -> Path:
    """The same before its end."""
    folder.mkdir(parents=True)
    step = {"stage": "test.texts", "version": 1, "identity": {"config": {}, "inputs": {}},
            "config": {}, "inputs": {}, "versions": {}}  # fmt: skip
    (folder / "_step.json").write_text(json.dumps(step))
    for number in range(parts):
        (folder / f"part-{number:05d}.parquet").write_text(f"{text} {number} " * 50)
    return folder


def files_of(folder: Path) -> dict[str, str]:
    """What lies in a folder but its bookkeeping, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("_step.json", "_manifest.json")
        and not path.name.startswith((".lock", ".pushed"))
    }  # fmt: skip
