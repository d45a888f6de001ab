"""Steps that another run has done already: taken over, not done again.

A grid of learning rates samples and scores its responses once. A step is the same where its
stage, its settings and the content of its inputs are, and the packages that make it.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from contracts.steps import fingerprint
from contracts.steps.disk_space import NO_ROOM
from contracts.steps.manifest import Manifest, read_manifest, save_manifest, versions
from contracts.steps.step import changes, describe, read_step, save_step
from contracts.tables.parts import sync_folder
from flows.pipeline.planning.planned_step import PlannedStep

log = logging.getLogger(__name__)


def take_over(step: PlannedStep) -> Manifest | None:
    """Fill the step's folder from another run beside its own, if one has done the step.

    The files are links to the other run's, which no stage writes to once it is finished. A
    step that was begun goes on by itself.

    Raises:
        UserError: one of the step's inputs is missing or not finished.
    """
    if not step.shared or step.out.exists():
        return None
    planned = describe(step.stage, step.config, step.inputs)
    for folder, recorded in _same_place(step):
        if changes(step.stage, recorded, planned):
            continue
        manifest = _sound(folder)
        if manifest and not step.stage.refuse(step.config, manifest):
            manifest = replace(manifest, taken_from=manifest.taken_from or str(folder))
            if _fill(step.out, folder, planned, manifest):
                return manifest
    return None


def _same_place(step: PlannedStep) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folders of this step in other runs, each with the step recorded in it."""
    for path in sorted(step.run.parent.glob(f"*/{step.path}/_step.json")):
        try:
            yield path.parent, read_step(path)
        except UserError:  # another run's damage is not ours to report
            continue


def _sound(folder: Path) -> Manifest | None:
    """The manifest of a finished step, if its files are what it left and made as ours would be."""
    try:
        manifest = read_manifest(folder)
        if manifest is None or manifest.versions != versions():
            return None
        files = {name: fingerprint.of_file(folder / name) for name in manifest.files}
    except (UserError, OSError):
        return None
    unchanged = files == manifest.files and fingerprint.of_json(files) == manifest.fingerprint
    return manifest if unchanged else None


def _fill(out: Path, source: Path, step: dict[str, Any], manifest: Manifest) -> bool:
    """Make `out` with all that it holds at once: a folder, on the disk, renamed into its place.

    False, and nothing is left of it, where a file of the source has gone: its own run makes the
    step anew (`--redo`), or is being deleted.
    """
    made = out.with_name(f".taking-{out.name}")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    for name in manifest.files:
        target = made / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _take(source / name, target)
        except OSError as error:
            shutil.rmtree(made)
            if error.errno in NO_ROOM:
                raise
            log.info("%s is not taken over: %s", source, error)
            return False
    for folder in [path for path in made.rglob("*") if path.is_dir()]:
        sync_folder(folder)
    save_step(made, step)
    save_manifest(made, manifest)
    made.replace(out)
    sync_folder(out.parent)
    return True


def _take(source: Path, target: Path) -> None:
    try:
        # A link takes no room and no time, and is safe: nobody writes into a finished step's files.
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
