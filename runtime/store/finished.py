"""Finished steps in a store: whole with their manifest, invisible without it.

    STEP/_manifest.json              what `Finished` holds; created once, last
    STEP/FINGERPRINT/part-00000.parquet

A step's files lie under the fingerprint of all of them, so that two machines that make one step
never write to each other's: equal files are equal objects, and of different ones those that lose
the manifest are seen by nobody.
"""

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from contracts.redo_hint import way_out
from contracts.steps import fingerprint
from contracts.steps.manifest import (
    Manifest,
    is_inside,
    manifest_of,
    read_manifest,
    refuse_newer,
    save_manifest,
)
from contracts.steps.step import read_step, save_step
from contracts.tables.parts import sync_folder
from runtime.store.begun import sending
from runtime.store.objects import Objects, at_once
from runtime.store.transfer import receive_all

MANIFEST = "_manifest.json"
# A file that was not written to since its step ended is what the manifest says: to read 1 GB for
# its fingerprint takes as long as to copy it to a shared folder. A pull reads all of it anyway.
_SETTLED_NS = 1_000_000_000
_SHOWN = 8


class TakenByAnother(UserError):
    """A store holds the step already, with other content."""


@dataclass(frozen=True)
class Finished:
    """A finished step as a store holds it."""

    step: dict[str, Any]
    """Its `_step.json`."""
    manifest: Manifest
    beside: dict[str, str] = field(default_factory=dict)
    """Fingerprints of hidden files that later steps read, and that may go before the others."""

    def key(self, place: str, name: str) -> str:
        """Where one of its files lies."""
        return f"{place}/{self.manifest.fingerprint}/{name}"

    def record(self) -> bytes:
        """What its manifest in a store holds."""
        record = {"step": self.step, "manifest": asdict(self.manifest), "beside": self.beside}
        return json.dumps(record, indent=1).encode()

    def lacking(self, place: str, sizes: Mapping[str, int]) -> list[str]:
        """Its files that are gone from the store, or cut.

        Args:
            sizes: bytes of what the store has, by key.
        """
        known = self.manifest.sizes
        keys = {name: self.key(place, name) for name in self.manifest.files}
        return [
            name
            for name, key in keys.items()
            if key not in sizes or sizes[key] != known.get(name, sizes[key])
        ]


def read_finished(objects: Objects, place: str) -> Finished | None:
    """The finished step at `place`; None if there is none, or it is only half pushed.

    Raises:
        StoreError: the store cannot say.
        UserError: what lies there is no step, or a newer version has written it.
    """
    data = objects.read(f"{place}/{MANIFEST}")
    if data is None:
        return None
    where = f"{objects.address}/{place}/{MANIFEST}"
    try:
        held = json.loads(data)
        refuse_newer(held, ("step", "manifest", "beside"), where)
        done = Finished(held["step"], manifest_of(held["manifest"], where), held["beside"])
        names = [*done.manifest.files, *done.beside, done.manifest.fingerprint]
        outside = [name for name in names if not is_inside(name)]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{where}: is damaged; remove {objects.address}/{place} from the store"
        ) from None
    if outside:
        raise UserError(f"{objects.address}/{place}: {outside[0]!r} is no file of a step; remove "
                        "it from the store")  # fmt: skip
    return done


def push(objects: Objects, place: str, folder: Path, beside: str = "") -> bool:
    """Push a finished step, its manifest last; whether it was not there before. Files of it that
    have gone from the store since are sent again.

    Args:
        beside: a hidden folder in the step's, whose files go with it.

    Raises:
        StoreError: the store failed; the same call goes on where it stopped.
        TakenByAnother: the store holds this step with other content; nothing of it was changed.
        UserError: a file is not as the step left it, or was freed before the store had it.
    """
    done, ended = _described(folder, beside), (folder / MANIFEST).stat().st_mtime_ns
    return push_as(objects, place, folder, done, ended)


def push_as(objects: Objects, place: str, folder: Path, done: Finished, ended: int) -> bool:
    """Push a folder as what it is said to be, like a finished step.

    Args:
        ended: when its fingerprints were known, in nanoseconds since 1970.

    Raises:
        StoreError, TakenByAnother, UserError: as `push`.
    """
    if there := read_finished(objects, place):
        _refuse_other(objects, place, there, done)
        _send_lacking(objects, place, folder, replace(done, beside={}), ended)
        return False
    _refuse_freed(folder, done.manifest)
    _send_lacking(objects, place, folder, done, ended)
    # Last, and created by one machine alone: from here on the step is there.
    if objects.create(f"{place}/{MANIFEST}", done.record()):
        # Another machine may have been removing the step before it, and these files with it.
        _send_lacking(objects, place, folder, done, ended)
        return True
    if there := read_finished(objects, place):
        _refuse_other(objects, place, there, done)
    return False


def _send_lacking(objects: Objects, place: str, folder: Path, done: Finished, ended: int) -> None:
    has = objects.sizes(f"{place}/{done.manifest.fingerprint}")

    def send(name: str) -> None:
        path = folder / name
        wanted = done.manifest.files.get(name) or done.beside[name]
        stat = path.stat()
        is_cut = stat.st_size != done.manifest.sizes.get(name, stat.st_size)
        # `cp -p` keeps the time of the last write, and not that of the last change.
        may_be_edited = max(stat.st_mtime_ns, stat.st_ctime_ns) > ended - _SETTLED_NS
        if is_cut or (may_be_edited and fingerprint.of_file(path) != wanted):
            raise UserError(f"{path}: was edited since its step finished; it is not pushed")
        if has.get(done.key(place, name)) != stat.st_size:
            objects.send(done.key(place, name), path)

    at_once(send, [*done.lacking(place, has), *done.beside])


def _described(folder: Path, beside: str) -> Finished:
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"{folder}: this stage has not finished; run it first")
    hidden = fingerprint.of_files(folder / beside) if beside else {}
    named = {f"{beside}/{name}": value for name, value in hidden.items()}
    return Finished(read_step(folder / "_step.json"), manifest, named)


def _refuse_freed(folder: Path, manifest: Manifest) -> None:
    """A store that took the rest for the whole step would never be given the weights."""
    if manifest.freed:
        raise UserError(
            f"{folder}: {', '.join(manifest.freed)} was freed by `onpolicy prune` before the store "
            "had it, so that this step cannot be pushed; go on with `resources.store=null`, or "
            f"{way_out(folder)}"
        )


def _refuse_other(objects: Objects, place: str, there: Finished, ours: Finished) -> None:
    if there.manifest.fingerprint != ours.manifest.fingerprint:
        raise TakenByAnother(
            f"{objects.address}/{place}: another machine has finished this step of this run with "
            "other content; nothing of it was changed"
        )


def pull(objects: Objects, place: str, done: Finished, out: Path) -> None:
    """Make the folder of a finished step, with all that it holds at once. `out` must not exist.

    What has come already stays, so that the same call goes on where it stopped.

    Raises:
        StoreError: the store failed, or a file is not what its step made.
        OSError: the disk is full.
    """
    made = out.with_name(f".pulling-{out.name}-{done.manifest.fingerprint[:_SHOWN]}")
    clear_leftovers(out, but=made)
    made.mkdir(parents=True, exist_ok=True)
    there = objects.sizes(f"{place}/{done.manifest.fingerprint}") if done.beside else {}
    beside = {n: value for n, value in done.beside.items() if done.key(place, n) in there}
    files = done.manifest.files | beside
    _remove_all_but(files, made)
    receive_all(objects, {n: (done.key(place, n), value) for n, value in files.items()}, made)
    for folder in [path for path in made.rglob("*") if path.is_dir()]:
        sync_folder(folder)
    save_step(made, done.step)
    save_manifest(made, done.manifest)
    made.replace(out)
    sync_folder(out.parent)


def clear_leftovers(out: Path, but: Path | None = None) -> None:
    """Remove what pulls and pushes of a step that were cut off have left on this disk."""
    names = (f".pulling-{out.name}", f".pulling-{out.name}-{'[0-9a-f]' * _SHOWN}")
    left = [path for name in names for path in out.parent.glob(name) if path != but]
    for folder in [*left, sending(out)]:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_all_but(files: Collection[str], made: Path) -> None:
    """A download that was killed has left half a file, which would move into the finished step."""
    for path in [path for path in made.rglob("*") if path.is_file()]:
        if path.relative_to(made).as_posix() not in files:
            path.unlink()


def forget(objects: Objects, place: str) -> None:
    """Remove a step from the store, its manifest first, and all that another machine puts there
    meanwhile.

    Raises:
        StoreError: the store failed; what is left is seen by nobody once the manifest is gone.
    """
    objects.remove([f"{place}/{MANIFEST}"])
    while keys := objects.sizes(f"{place}/"):
        objects.remove(key for key in keys if key == f"{place}/{MANIFEST}")
        objects.remove(keys)
