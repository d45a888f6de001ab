"""Models in a store, for machines that do not see the folders in which they lie.

What a run has trained is where the run pushes it, if it has or still goes on. Any other folder is
pushed once, by its content:

    _models/FINGERPRINT/            laid out as a finished step (`runtime.store.finished`)
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import OnPolicyError, UserError
from contracts.steps import fingerprint
from contracts.steps.files import sizes_of
from contracts.steps.lock import holder_of
from contracts.steps.manifest import Manifest, read_manifest, versions
from runtime.store.finished import Finished, push_as, read_finished
from runtime.store.objects import Objects, StoreError
from runtime.store.run_id import run_of

log = logging.getLogger(__name__)

_BY_CONTENT = "_models"
_LOOK_SECONDS = 2.0
# Of a push that gets no further: a piece of 5 GB takes 7 minutes at 100 Mbit/s.
_PATIENCE_SECONDS = 1800.0


@dataclass(frozen=True)
class StoredModel:
    """A model's folder as a store holds it."""

    place: str
    fingerprint: str
    """Of all of its files; a manifest's."""


def deliver(objects: Objects, folder: Path) -> StoredModel:
    """See to it that the store has the model in `folder`.

    Raises:
        StoreError: the store failed.
        UserError: the store holds the run's step with other content.
        OnPolicyError: the run that has made it does not push it.
    """
    manifest = read_manifest(folder)
    if manifest and (run := run_of(objects, folder)):
        place = f"{run.name}/{folder.absolute().relative_to(run).as_posix()}"
        if _is_there(objects, place, folder, manifest) or holder_of(run):
            _await_push(objects, place, folder, manifest)
            return StoredModel(place, manifest.fingerprint)
    return _push(objects, folder)


def _await_push(objects: Objects, place: str, folder: Path, manifest: Manifest) -> None:
    """Wait until its run has pushed it: that goes on beside the steps that follow."""
    came, changed = -1, time.monotonic()
    while not _is_there(objects, place, folder, manifest):
        if came < 0:
            log.info("%s: waiting until it is in the store, for nodes that lack it", folder)
        size = _size(objects, place)
        if size != came:
            came, changed = size, time.monotonic()
        elif time.monotonic() - changed > _PATIENCE_SECONDS:
            raise OnPolicyError(
                f"{folder}: nodes lack it, and for {_PATIENCE_SECONDS / 60:g} minutes nothing of "
                f"it has come to {objects.address}/{place}. Finished work is kept: run the same "
                "command again once the store answers"
            )
        time.sleep(_LOOK_SECONDS)


def _is_there(objects: Objects, place: str, folder: Path, manifest: Manifest) -> bool:
    try:
        done = read_finished(objects, place)
    except StoreError:  # it is down, which delays the run's push as well
        return False
    if done and done.manifest.fingerprint != manifest.fingerprint:
        raise UserError(f"{folder}: {objects.address}/{place} is another than this one, so that no "
                        "node can fetch it from there")  # fmt: skip
    return done is not None


def _size(objects: Objects, place: str) -> int:
    try:
        return sum(objects.sizes(place).values())
    except StoreError:
        return 0


def _push(objects: Objects, folder: Path) -> StoredModel:
    """By its content, once."""
    began, files = time.time_ns(), fingerprint.of_files(folder)
    whole = fingerprint.of_json(files)
    place = f"{_BY_CONTENT}/{whole}"
    manifest = Manifest(
        stage="model", rows=0, dropped={}, facts={}, fingerprint=whole, files=files,
        started=Manifest.clock(), seconds=0.0, versions=versions(), revision="",
        sizes=sizes_of(folder),
    )  # fmt: skip
    made = {"stage": "model", "version": 1, "identity": {}, "config": {}, "inputs": {}}
    log.info("%s: goes to %s, once, for nodes that lack it", folder, objects.address)
    push_as(objects, place, folder, Finished(made, manifest), began)
    return StoredModel(place, whole)
