"""What a step has made so far, in a store: its parts, journals and last checkpoint, so that a
machine that is taken away in the middle of a step costs the minutes since the last push.

    STEP/_begun/00000003.json           which files it is made of; the highest is the newest
    STEP/_begun/FINGERPRINT/part-00000.parquet

No record is ever replaced: each is created under the next number, so that one that comes late, from
a machine that was stopped or cut off, meets the newer ones of whoever went on where it had left.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from contracts.steps import fingerprint
from contracts.steps.manifest import is_inside, refuse_newer
from contracts.steps.step import read_step, save_step
from contracts.tables.parts import sync_folder, write_atomic
from runtime.store.objects import Objects, StoreError, at_once
from runtime.store.transfer import receive_all

CHECKPOINTS = ".checkpoints"
_METRICS = f"{CHECKPOINTS}/metrics.jsonl"
_KINDS = (".jsonl", ".parquet")
_NOT_OURS = ".tmp-"
_NOTE = ".pushed.json"
_RECORD = re.compile(r"/_begun/(\d{8})\.json$")


class Overtaken(StoreError):
    """Another machine goes on with the step: it has pushed since, from what the store had."""


@dataclass(frozen=True)
class Begun:
    """A step's files as they were at one moment."""

    step: dict[str, Any]
    files: dict[str, str]
    """Fingerprints by name."""
    number: int = 0
    """Of its record; each one that is pushed has a higher one."""

    def key(self, place: str, name: str) -> str:
        """Where one of its files lies."""
        return f"{place}/_begun/{self.files[name]}/{name}"


def read_begun(objects: Objects, place: str) -> Begun | None:
    """What the store holds of a step that has not finished; None if that is nothing.

    Raises:
        StoreError: the store cannot say, or what lies there is damaged.
    """
    while records := [key for key in objects.sizes(f"{place}/_begun") if _number(key)]:
        newest = max(records, key=_number)
        if data := objects.read(newest):  # else a newer one has just come
            return _parsed(data, f"{objects.address}/{newest}", _number(newest))
    return None


def _parsed(data: bytes, where: str, number: int) -> Begun:
    try:
        held = json.loads(data)
        refuse_newer(held, ("step", "files"), where)
        files = {str(name): str(value) for name, value in held["files"].items()}
        begun = Begun(held["step"], files, number)
    except UserError as error:
        raise StoreError(str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoreError(f"{where}: is damaged; remove it") from None
    if outside := [name for name in begun.files if not is_inside(name)]:
        raise StoreError(f"{where}: {outside[0]!r} is no file of a step")
    return begun


def _record(place: str, number: int) -> str:
    return f"{place}/_begun/{number:08d}.json"


def _number(key: str) -> int:
    """A record's; 0 for a file's key."""
    return int(found[1]) if (found := _RECORD.search(key)) else 0


def sending(folder: Path) -> Path:
    """Where a step's files are linked while they are pushed: beside its folder, for whoever walks
    through that meets no folder that comes and goes."""
    return folder.with_name(f".sending-{folder.name}")


def last_checkpoint(folder: Path) -> str:
    """The name of the last whole checkpoint in a step's folder; empty where there is none."""
    return max((path.name for path in (folder / CHECKPOINTS).glob("step-*")), default="")


class Snapshots:
    """Pushes what one step has made so far, again and again; what is there is not sent twice."""

    def __init__(self, objects: Objects, place: str, folder: Path, checkpoints: bool) -> None:
        """
        Args:
            checkpoints: whether checkpoints are pushed too, 12 bytes a trained weight each.
        """
        self._objects, self._place, self._folder = objects, place, folder
        self._checkpoints = checkpoints
        self._there: set[str] | None = None
        self._has_begun = False
        self._records: set[str] = set()
        """Keys of those that were there before it began, and of those tried here."""
        self._last: dict[str, str] = {}

    def push(self, go_on: Callable[[], bool]) -> bool:
        """Push what lies there now; whether the store has it. No once it is not to `go_on`.

        Raises:
            Overtaken: another machine has pushed the step since this one began to.
            StoreError: the store failed.
        """
        held = sending(self._folder)
        shutil.rmtree(held, ignore_errors=True)
        try:
            begun = self._linked(held)
            return bool(begun.files) and self._send(begun, held, go_on)
        except (FileNotFoundError, UserError):  # the step went on: it removed a journal, or ended
            return False
        finally:
            shutil.rmtree(held, ignore_errors=True)

    def _linked(self, held: Path) -> Begun:
        """Links to all files: a checkpoint may be removed while it is pushed. Journals first: their
        records may be in a part a moment later, never the other way."""
        names = sorted(self._names(), key=lambda name: (not name.endswith(".jsonl"), name))
        for name in names:
            (held / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".jsonl"):  # it grows: as it is now
                shutil.copyfile(self._folder / name, held / name)
            else:
                _link(self._folder / name, held / name)
        files = {name: fingerprint.of_file(held / name) for name in names}
        return Begun(read_step(self._folder / "_step.json"), files)

    def _names(self) -> Iterator[str]:
        """Of a training what it resumes from; else what is written whole, or line by line."""
        below = self._folder / CHECKPOINTS
        if not below.is_dir():
            return (name for name in _files(self._folder) if name.endswith(_KINDS))
        newest = last_checkpoint(self._folder) if self._checkpoints else ""
        held = [f"{CHECKPOINTS}/{name}" for name in _files(below / newest, Path(newest))]
        return iter([_METRICS, *held] if newest else [])

    def _send(self, begun: Begun, held: Path, go_on: Callable[[], bool]) -> bool:
        if begun.files == self._last:
            return True
        if self._there is None:
            self._there = self._listed()
        keys = {begun.key(self._place, name): held / name for name in begun.files}
        missing = [key for key in keys if key not in self._there]

        def send(key: str) -> None:
            if go_on():
                self._objects.send(key, keys[key])

        at_once(send, missing)
        if not go_on():
            return False
        held_files = {"step": begun.step, "files": begun.files}
        record, listed = self._put_record(json.dumps(held_files, indent=1).encode())
        _note(self._folder, _number(record))
        # After the record: until it is there, another names the older files.
        needed = {record, *keys}
        self._objects.remove((self._there | self._records) & listed - needed)
        self._there = listed & needed
        is_whole = needed <= listed  # else one who was overtaken has removed some
        self._last = begun.files if is_whole else {}
        return is_whole

    def _put_record(self, data: bytes) -> tuple[str, set[str]]:
        """Create the record under the next number; its key, and all that is there by then.

        Raises:
            Overtaken: another machine's is there, or comes to be meanwhile.
        """
        self._look()
        key = _record(self._place, max(map(_number, self._records), default=0) + 1)
        self._records.add(key)  # whatever becomes of it: the answer may be lost
        if not self._objects.create(key, data):
            raise self._overtaken
        try:
            return key, self._look()
        except Overtaken:
            self._objects.remove([key])
            raise

    def _look(self) -> set[str]:
        """All keys that are there.

        Raises:
            Overtaken: another machine's record is among them.
        """
        listed = self._listed()
        records = {key for key in listed if _number(key)}
        if self._has_begun and records - self._records:
            raise self._overtaken
        self._has_begun = True
        self._records |= records
        return listed

    @property
    def _overtaken(self) -> Overtaken:
        return Overtaken(
            f"{self._objects.address}/{self._place}: another machine goes on with this step; what "
            "is made here goes to the store once it is finished"
        )

    def _listed(self) -> set[str]:
        return set(self._objects.sizes(f"{self._place}/_begun"))


def _files(folder: Path, inside: Path = Path()) -> Iterator[str]:
    for path in folder.rglob("*"):
        place = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(_NOT_OURS) for part in place.parts):
            yield (inside / place).as_posix()


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def restore(
    objects: Objects, place: str, begun: Begun, out: Path, clear: Callable[[], None]
) -> None:
    """Make the folder of a step that was begun as the store last saw it.

    Args:
        clear: removes what lies at `out`, once all that is to be there has come.

    Raises:
        StoreError: the store failed; or another machine has just replaced what was there.
    """
    made = out.with_name(f".pulling-{out.name}")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    receive_all(objects, {n: (begun.key(place, n), f) for n, f in begun.files.items()}, made)
    for folder in [path for path in made.rglob("*") if path.is_dir()]:
        sync_folder(folder)
    save_step(made, begun.step)
    _note(made, begun.number)
    clear()
    made.replace(out)
    sync_folder(out.parent)


def last_pushed(folder: Path) -> int:
    """The number of the record that a step's folder was last pushed as, or restored from; 0 where
    that is none. If the store's is higher, another machine has gone on with the step."""
    try:
        return int(json.loads((folder / _NOTE).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return 0


def _note(folder: Path, number: int) -> None:
    write_atomic(folder / _NOTE, json.dumps(number).encode())


def forget_begun(objects: Objects, place: str) -> None:
    """Remove what the store holds of a step that was not finished, its records first.

    Raises:
        StoreError: the store failed.
    """
    keys = objects.sizes(f"{place}/_begun")
    objects.remove([key for key in keys if _number(key)])
    objects.remove([key for key in keys if not _number(key)])
