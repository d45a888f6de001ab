"""Copies of models that this machine has fetched from a store, for every process and run on it."""

import logging
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import filelock

from contracts.errors import UserError
from contracts.models.copies import is_in_use
from contracts.steps import fingerprint
from contracts.tables.parts import write_atomic
from runtime.store.finished import pull, read_finished
from runtime.store.models import StoredModel
from runtime.store.objects import Objects, StoreError

log = logging.getLogger(__name__)

# https://bford.info/cachedir/: backup tools leave out a folder with such a file.
_TAG = """Signature: 8a477f597d28d172789f06886806bc55
# Models that onpolicy has fetched from a run's store, because this machine does not see the folders
# that they lie in. When the disk is full, those that were used longest ago are removed. You may
# remove them all while no run goes on here.
"""
# A worker that has fetched a model begins to use it within minutes.
_SOON_SECONDS = 3600.0


def copy_of(objects: Objects, stored: StoredModel) -> Path:
    """A folder of this machine that holds the model, fetched if none does: by one process, for
    which the others wait.

    Raises:
        StoreError: the store failed, or does not have it.
        OSError: the disk is full.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "onpolicy", "models")
    cache.mkdir(parents=True, exist_ok=True)
    copy = cache / stored.fingerprint
    with filelock.FileLock(cache / ".lock"):
        write_atomic(cache / "CACHEDIR.TAG", _TAG.encode())
        if not _is_whole(copy, stored):
            _fetch(objects, stored, copy)
        os.utime(copy)  # when it was used last
    return copy


def _is_whole(copy: Path, stored: StoredModel) -> bool:
    try:
        return fingerprint.of_input(str(copy)) == stored.fingerprint
    except UserError:  # nothing is there, or a file of it has gone
        return False


def _fetch(objects: Objects, stored: StoredModel, copy: Path) -> None:
    done = read_finished(objects, stored.place)
    if done is None or done.manifest.fingerprint != stored.fingerprint:
        raise StoreError(f"{objects.address}/{stored.place}: the model has gone from the store")
    shutil.rmtree(copy, ignore_errors=True)
    _make_room(copy, sum(done.manifest.sizes.values()))
    log.info("fetching %s/%s to %s", objects.address, stored.place, copy)
    # Without the optimizer's state, 12 bytes a weight.
    pull(objects, stored.place, replace(done, beside={}), copy)


def _make_room(copy: Path, needed: int) -> None:
    """Remove copies that were used longest ago and are not in use, and what killed downloads have
    left, until there are so many bytes free for another."""
    latest = time.time() - _SOON_SECONDS
    others = [
        path for path in copy.parent.iterdir() if path.is_dir() and copy.name not in path.name
    ]
    for used, path in sorted((path.stat().st_mtime, path) for path in others):
        if shutil.disk_usage(copy.parent).free > needed or used > latest:
            return
        if is_in_use(path):
            continue
        log.info("removing %s, which was used longest ago, for want of room", path)
        shutil.rmtree(path)
