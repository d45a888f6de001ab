"""A step: one stage, one config, its inputs, one folder; done once, resumed where it stopped.

`_step.json` claims the folder, `_manifest.json` comes last and means done.
"""

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import pyarrow as pa

from contracts.config.base import Config, check, identity
from contracts.config.packages import packages_in
from contracts.errors import ConfigDrift, UserError, first_line
from contracts.redo_hint import elsewhere, way_out
from contracts.steps import fingerprint
from contracts.steps.differences import differences
from contracts.steps.disk_space import naming_what_is_full
from contracts.steps.facts import Facts
from contracts.steps.files import damage
from contracts.steps.inputs import I, Inputs, check_inputs
from contracts.steps.lock import folder_lock
from contracts.steps.manifest import Manifest, Result, read_manifest, versions, write_manifest
from contracts.tables.parts import write_atomic

log = logging.getLogger(__name__)

_KEYS = ("stage", "version", "identity", "config", "inputs")

C = TypeVar("C", bound=Config)
Given = Inputs | Mapping[str, Any]
"""A stage's inputs, or the same as JSON has them."""


def anything(_: Config, __: Manifest) -> str | None:
    """`Stage.refuse` of a stage whose resources decide nothing of its output."""
    return None


def nothing(_: Config) -> Mapping[str, str]:
    """`Stage.here` of a stage for which every machine is the same."""
    return {}


@dataclass(frozen=True)
class Stage(Generic[C, I]):
    """A kind of step: `run(config, inputs, out)` fills the folder `out`.

    Raise `version` when the same config and inputs would now give other output.
    """

    name: str
    version: int
    config: type[C]
    inputs: type[I]
    output: pa.Schema | str
    """The table that it writes; in words where it is none."""
    run: Callable[[C, I, Path], Result]
    facts: type[Facts] = Facts
    here: Callable[[C], Mapping[str, str]] = nothing
    """What of this machine decides the output beside config and inputs, by what it is told as:
    the source of a function that the config names, what its `dtype: auto` stands for."""

    refuse: Callable[[C, Manifest], str | None] = anything
    """Why what was finished is not good enough for a config's resources, which are no part of its
    identity: more failures than they allow, and which key to change. None where it is."""

    @property
    def module(self) -> str:
        """The module that runs this stage as a process: `python -m MODULE STEP.json`."""
        return self.run.__module__

    def reads(self, given: Given) -> I:
        """`given` as this stage's inputs.

        Raises:
            UserError: names the stage, each input that is missing or unknown, and what to give.
        """
        return check_inputs(self.inputs, given, self.name)


def describe(
    stage: Stage, config: Config, inputs: Given, known: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """The content of a step's `_step.json`.

    Args:
        known: fingerprints of inputs by name; these inputs are not read.

    Raises:
        UserError: an input is missing or not finished, or the stage has no such input.
    """
    read = stage.reads(inputs)
    here = here_of(stage, config)
    return {
        "stage": stage.name,
        "version": stage.version,
        "identity": {
            "config": identity(config),
            "inputs": {
                name: known[name] if name in known else fingerprint.of_input(value)
                for name, value in read.by_name.items()
            },
            **({"here": here} if here else {}),
        },
        "config": config.model_dump(mode="json"),
        "inputs": read.plain(),
    }


def here_of(stage: Stage, config: Config) -> dict[str, str]:
    """What else decides the stage's output beside config and inputs: facts of this machine, and
    the versions of packages whose variants the config names."""
    return {**stage.here(config), **packages_in(config)}


def changes(stage: Stage, recorded: Mapping[str, Any], planned: Mapping[str, Any]) -> list[str]:
    """How a recorded step differs from a planned one: `beta: was 2.0, now 3.0`, a line a key.

    Both are in the form of `describe`. Empty if they make the same output.
    """
    return config_changes(_essence(stage, recorded), _essence(stage, planned))


def config_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """A line for each key whose value in `new` is not the one in `old`."""
    return [f"{key}: was {was!r}, now {now!r}" for key, was, now in differences(old, new)]


def claim(stage: Stage, config: Config, inputs: Given, out: Path) -> Manifest | None:
    """Claim `out` for this step. If it is done already, return its manifest and write nothing.

    Raises:
        ConfigDrift: the folder belongs to another config or other inputs; names each key.
        UserError: an input is missing or not finished; the step is done, and a file of it is
            gone, cut or new.
    """
    step = describe(stage, config, inputs)
    path = out / "_step.json"
    recorded = read_step(path) if is_begun(out) and path.exists() else None
    if recorded and (changed := changes(stage, recorded, step)):
        raise ConfigDrift(drift_told(out, changed))
    if manifest := read_manifest(out):
        added = fingerprint.added_files(out, manifest.all_files)
        fingerprint.refuse_not_whole(out, changes_since(out, manifest), added)
        if fault := stage.refuse(config, manifest):
            raise UserError(f"{out}: {fault}, or {way_out(out)}")
        return manifest
    step["versions"] = _versions_of(recorded)
    if recorded != step:
        out.mkdir(parents=True, exist_ok=True)
        save_step(out, step)
    return None


def _versions_of(recorded: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """The versions of packages under which the step was made so far and goes on, oldest first."""
    seen = recorded["versions"] if recorded else {}
    now = versions()
    return {
        name: list(dict.fromkeys([*seen.get(name, []), *filter(None, [now.get(name)])]))
        for name in sorted(seen.keys() | now.keys())
    }


def is_begun(out: Path) -> bool:
    """Whether a step has made anything yet, even a line of a journal. Until then its folder may
    go to another config, since nothing would be lost."""
    ours = ("_step.json", ".lock", ".tmp-")
    made = (path for path in out.rglob("*") if not path.name.startswith(ours))
    return any(path.is_file() and path.stat().st_size for path in made)


def changes_since(out: Path, manifest: Manifest) -> list[str]:
    """Which files of a finished step are gone or cut, judged by their names and sizes."""
    return damage(out, manifest.files, manifest.sizes)


def save_step(folder: Path, step: Mapping[str, Any]) -> None:
    """Write `_step.json`, which claims the folder."""
    write_atomic(folder / "_step.json", json.dumps(step, indent=1, sort_keys=True).encode())


def unmeasured() -> None:
    """How busy a machine without GPUs is."""


def run_once(
    stage: Stage,
    config: Config,
    inputs: Given,
    out: Path,
    busy: Callable[[], float | None] = unmeasured,
) -> Manifest:
    """Run a step unless its manifest says that it is done; resume it where it stopped.

    Args:
        busy: tells the share of the time so far in which the GPUs computed.

    Raises:
        ConfigDrift: the folder belongs to another config or other inputs.
        FolderBusy: another process is writing to the folder.
        UserError: an input is missing or unknown, or not as the step that made it left it.
    """
    read = stage.reads(inputs)
    out.mkdir(parents=True, exist_ok=True)
    with folder_lock(out):
        resumed = is_begun(out)
        if manifest := claim(stage, config, read, out):
            return manifest
        # Files that a kill kept from being renamed; under the lock, no living process writes them.
        for leftover in out.glob(".tmp-*"):
            leftover.unlink()
        _refuse_edited(read)
        made_by = read_step(out / "_step.json")["versions"]
        for name, seen in made_by.items():
            if len(seen) > 1:
                log.warning("%s: begun with %s %s, goes on with %s", out, name, *_ends(seen))
        started = Manifest.clock()
        with naming_what_is_full(out):
            result = stage.run(config, read, out)
        if not isinstance(result.facts, stage.facts):
            raise TypeError(f"{stage.name} gives facts {result.facts!r}, not {stage.facts}")
        return write_manifest(out, stage.name, result, started, made_by, resumed, busy())


def _ends(seen: list[str]) -> tuple[str, str]:
    return ", ".join(seen[:-1]), seen[-1]


def _refuse_edited(inputs: Inputs) -> None:
    """Names and sizes are compared wherever a step is looked at; contents where it is read."""
    for value in inputs.by_name.values():
        fingerprint.refuse_not_whole(Path(value), fingerprint.edited_files(Path(value)))


def run_step_file(
    stage: Stage, path: Path, busy: Callable[[], float | None] = unmeasured
) -> Manifest:
    """Run the step that a `_step.json` describes, in the folder that the file lies in."""
    step = read_step(path)
    if step["stage"] != stage.name:
        raise UserError(f"{path}: is a step of {step['stage']}, not of {stage.name}")
    config = check(stage.config, step["config"], origin=str(path))
    return run_once(stage, config, step["inputs"], path.parent, busy)


def read_step(path: Path) -> dict[str, Any]:
    """A `_step.json`.

    Raises:
        UserError: it is not there, or is no step.
    """
    try:
        step = json.loads(path.read_text())
        missing = [f"`{key}`" for key in _KEYS if key not in step]
        if missing:
            raise ValueError(f"{', '.join(missing)} is missing")
        return {key: step[key] for key in _KEYS} | {"versions": step.get("versions", {})}
    except FileNotFoundError:
        raise UserError(f"{path}: no such step file") from None
    except (ValueError, TypeError) as error:
        reason = first_line(error)
        raise UserError(f"{path}: is no step file ({reason}); {way_out(path.parent)}") from None


def drift_told(out: Path, changed: list[str]) -> str:
    """That a folder belongs to another config: each change, and the way out."""
    return (
        f"{out}: was made by another config; nothing was changed.\n  "
        + "\n  ".join(changed)
        + f"\nChoose {elsewhere(out)}, or {way_out(out)}."
    )


def _essence(stage: Stage, step: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a step's output; its config as today's model reads it.

    So that a step from before an upgrade goes on where the upgrade brought a key whose default
    changes nothing.
    """
    config = step["identity"]["config"]
    with suppress(UserError):  # a key is gone, or may no longer be so: it is named as it stands
        config = identity(check(stage.config, step["config"], origin=""))
    return {
        "stage": step["stage"],
        "version": step["version"],
        "identity": {**step["identity"], "config": config},
    }
