"""`--redo`: stages of a run, and all that reads from them, removed to be made anew.

What goes is recorded first, so that a run killed in the middle goes on with it; the record stays,
so that the same command, given again, goes on and removes nothing a second time.
"""

import difflib
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import Field, ValidationError

from contracts.config.base import Config
from contracts.errors import UserError
from contracts.steps.lock import folder_lock
from contracts.steps.manifest import is_inside
from contracts.tables.parts import sync_folder, write_atomic
from flows.pipeline.folder import paid
from flows.pipeline.planning.planned_step import PlannedStep

_RECORD = ".redo.json"
_UNDER_WAY = ".redo-under-way.json"


class _Record(Config):
    """What one `--redo` removes, by paths of steps."""

    remove: list[str] = Field([])
    make: list[str] = Field([])
    """Those that the user named."""
    request: str = ""


def named(
    steps: Sequence[PlannedStep], names: Iterable[str], option: str = "--redo"
) -> list[PlannedStep]:
    """The steps that an option names: `round-2/pairs`, or `pairs` for each round's, or a folder
    of steps (`evaluation`, `round-2`).

    Raises:
        UserError: no step has such a name.
    """
    paths: set[str] = set()
    for name in names:
        place = name.strip("/")
        matching = {step.path for step in steps if place and _is_at(step.path, place)}
        if not matching:
            raise UserError(f"{option} {name}: no stage of this run; {_known(steps, place)}")
        paths |= matching
    return [step for step in steps if step.path in paths]


def up_to(steps: Sequence[PlannedStep], until: str | None) -> list[PlannedStep]:
    """The steps up to the one that `--until` names, and that one: the first round's where it names
    no round, the last of a folder of steps.

    Raises:
        UserError: no step has such a name.
    """
    if until is None:
        return [*steps]
    asked = named(steps, [until], "--until")
    last = [step.path for step in asked if step.round == asked[0].round][-1]
    return [*steps[: [step.path for step in steps].index(last) + 1]]


def readers(steps: Sequence[PlannedStep], first: Iterable[PlannedStep]) -> list[PlannedStep]:
    """`first` and every step that reads from one of them, directly or not, in their order."""
    folders = {str(step.out) for step in first}
    reading = []
    for step in steps:  # each comes after those that it reads from
        if str(step.out) in folders or not folders.isdisjoint(step.reads.values()):
            folders.add(str(step.out))
            reading.append(step)
    return reading


def record(
    run: Path, again: Sequence[PlannedStep], named_steps: Sequence[PlannedStep], request: str
) -> None:
    """Record that the steps `again` are to be removed. The `named_steps`, which the user named, are
    then made here, not taken over from another run.

    Args:
        request: what tells this request from any other.
    """
    if again:
        held = _Record(remove=_paths(again), make=_paths(named_steps), request=request)
        write_atomic(run / _RECORD, held.model_dump_json(indent=1).encode())


def recorded(run: Path) -> list[str]:
    """The paths of the steps that are still to be removed."""
    return _read(run).remove


def remove_recorded(run: Path) -> None:
    """Remove what is recorded: the last steps first, of each its manifest first. Replies that were
    paid for are set aside.

    Raises:
        FolderBusy: a stage is running in one of the folders.
    """
    held = _read(run)
    if not held.remove:
        return
    for path in reversed(held.remove):
        if (run / path).is_dir():
            _empty(run, path)
            if (
                path not in held.make
            ):  # a folder that is there counts as begun: nothing is taken over
                _drop(run / path)
    (run / _RECORD).replace(run / _UNDER_WAY)


def removed_for(run: Path, request: str) -> list[str]:
    """The paths of the steps that the last `--redo` removed, if it was this request."""
    held = _read(run, _UNDER_WAY)
    return held.remove if held.request == request else []


def _empty(run: Path, path: str) -> None:
    folder = run / path
    with folder_lock(folder):
        (folder / "_manifest.json").unlink(missing_ok=True)
        sync_folder(folder)
        paid.set_aside(run, path)
        for child in folder.iterdir():
            if child.name.startswith(".lock"):
                continue
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()


def _drop(folder: Path) -> None:
    (folder / ".lock").unlink(missing_ok=True)
    with suppress(OSError):  # a link to another disk: its empty folder may stay
        folder.rmdir()


def _read(run: Path, name: str = _RECORD) -> _Record:
    try:
        text = (run / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return _Record()
    try:
        held = _Record.model_validate_json(text)
    except ValidationError:
        raise UserError(f"{run / name}: is damaged; delete it, and give --redo again") from None
    for path in held.remove:
        if not is_inside(path):
            raise UserError(f"{run / name}: {path!r} is no stage of this run; delete the file")
    return held


def _paths(steps: Sequence[PlannedStep]) -> list[str]:
    return [step.path for step in steps]


def _is_at(path: str, target: str) -> bool:
    """Whether a step lies at or below `target`, in the run or in any of its rounds."""
    first, _, rest = path.partition("/")
    inside = [path, rest] if first.startswith("round-") else [path]
    return any(place == target or place.startswith(f"{target}/") for place in inside)


def _known(steps: Sequence[PlannedStep], unknown: str) -> str:
    names = list(dict.fromkeys(step.path.partition("/")[2] or step.path for step in steps))
    near = difflib.get_close_matches(unknown, [*names, *_paths(steps)], n=1)
    return f"did you mean {near[0]}?" if near else "name one of " + ", ".join(names)
