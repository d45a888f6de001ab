"""What of a run was made by another config or from other inputs, or was changed since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.config.base import identity
from contracts.errors import ConfigDrift
from contracts.redo_hint import MOVE_AWAY
from contracts.steps.fingerprint import added_files
from contracts.steps.step import changes, changes_since, describe, is_begun, read_step
from evaluation import gate
from evaluation.gates.answers import read_answer
from flows.pipeline.folder.redo import named, readers
from flows.pipeline.planning.lineage import decision_of
from flows.pipeline.planning.planned_step import PlannedStep

_AFTER = "reads from a stage that is made anew"


@dataclass(frozen=True)
class Drift:
    """A step that is no longer what the config makes."""

    step: PlannedStep
    changes: list[str]
    """A line a key; none where only what it reads from will be other."""
    damage: list[str] = field(default_factory=list)
    """A line for each file that is gone or was changed since the step finished."""
    added: list[str] = field(default_factory=list)
    """Where nothing else is amiss: new files, which only have to be moved away."""


def drifted(
    steps: Sequence[PlannedStep], before: Sequence[PlannedStep], anew: set[str]
) -> list[Drift]:
    """The steps with a folder that this plan would make otherwise, in their order.

    Args:
        steps: the run's steps.
        before: its steps by the config that it was made by; tells whether one whose folder is
            not there will be another.
        anew: paths of steps that are about to be removed.

    Raises:
        UserError: an input from outside the run is missing.
    """
    inside = {str(step.out): step for step in steps}
    old = {step.path: step for step in before}
    drifts: list[Drift] = []
    other: set[str] = set()  # folders that will hold something else
    for step in _decided(steps, anew):
        reads_other = not other.isdisjoint(step.reads.values())
        if step.path in anew or not is_begun(step.out):
            if step.path in anew or reads_other or _is_other(step, old):
                other.add(str(step.out))
        elif (manifest := step.done) and (damage := changes_since(step.out, manifest)):
            drifts.append(Drift(step, [], damage))
            other.add(str(step.out))
        elif (lines := _changes(step, inside, anew, other)) or reads_other:
            drifts.append(Drift(step, lines))
            other.add(str(step.out))
        elif manifest and (added := added_files(step.out, manifest.all_files)):
            drifts.append(Drift(step, [], added=added))
    return drifts


def _decided(steps: Sequence[PlannedStep], anew: set[str]) -> list[PlannedStep]:
    """The steps that no gate which is still to decide, or is about to be made anew, comes before:
    what the others begin from is open."""
    gates = [step.round for step in steps if step.stage is gate.STAGE and step.path in anew]
    last = min(gates, default=len(steps))
    return [step for step in steps if not step.provisional and step.round <= last]


def refuse(
    folder: Path, drifts: Sequence[Drift], steps: Sequence[PlannedStep], keys: list[str]
) -> None:
    """Raise `ConfigDrift` if there are `drifts`, naming all of it and the one way to redo it.

    Args:
        folder: the run's.
        drifts: what has drifted.
        steps: all steps of the run.
        keys: the keys of the run's config that differ, as lines.
    """
    added = [
        f"  {drift.step.path}: {name} is new since it finished"
        for drift in drifts
        for name in drift.added
    ]
    if not (drifts := [drift for drift in drifts if not drift.added]):
        _refuse_added(folder, added)
        return
    first = _first(drifts, steps)
    damaged = [drift.step.path for drift in first if drift.damage]
    if len(damaged) == len(first):
        head = [f"{folder}: files of finished stages are gone or were changed; nothing was done."]
    else:
        head = [f"{folder}: is not what this config makes of these inputs; nothing was changed."]
        head += [*(f"  {key}" for key in keys), "Of what is made, this is other:"]
    told = [
        f"  {drift.step.path}: {line}"
        for drift in first
        for line in drift.damage or drift.changes or [_AFTER]
    ]
    if after := [drift.step.path for drift in drifts if drift not in first]:
        told.append(f"  and what reads from that: {', '.join(after)}")
    ways = [_way_out(first, damaged, steps)]
    ways += [*added, f"And {MOVE_AWAY}."] if added else []
    raise ConfigDrift("\n".join([*head, *told, *ways]))


def _way_out(first: Sequence[Drift], damaged: Sequence[str], steps: Sequence[PlannedStep]) -> str:
    """What to do about the drifts that do not follow from others; `damaged`: which of these are
    the loss of files alone."""
    back = f"Put the files of {', '.join(damaged)} back as they were" if damaged else ""
    if len(damaged) == len(first):
        # Only what was lost: the same stage of other rounds is whole.
        options = " ".join(f"--redo {path}" for path in damaged)
        return f"{back}, or make these stages anew: the same `onpolicy run` with `{options}`."
    options = " ".join(f"--redo {name}" for name in _names([drift.step for drift in first], steps))
    told = (
        "Choose another `name` for the new run, or make all of it anew: the same `onpolicy run` "
        f"with `{options}`."
    )
    return f"{back}.\n{told}" if back else told


def _refuse_added(folder: Path, added: Sequence[str]) -> None:
    if added:
        head = f"{folder}: holds files that stages would read and that none has made."
        raise ConfigDrift("\n".join([head, *added, f"{MOVE_AWAY.capitalize()}."]))


def _first(drifts: Sequence[Drift], steps: Sequence[PlannedStep]) -> list[Drift]:
    """The drifts that do not follow from another step's drift."""
    first: list[Drift] = []
    covered: set[str] = set()
    for drift in drifts:
        if drift.step.path not in covered:
            first.append(drift)
            covered |= {step.path for step in readers(steps, [drift.step])}
    return first


def _names(first: list[PlannedStep], steps: Sequence[PlannedStep]) -> list[str]:
    """The values for `--redo`: a stage's plain name if that selects the same steps."""
    affected = readers(steps, first)
    for step in first[:1]:
        plain = step.path.partition("/")[2] or step.path
        if readers(steps, named(steps, [plain])) == affected:
            return [plain]
    return [step.path for step in first]


def _is_other(step: PlannedStep, old: Mapping[str, PlannedStep]) -> bool:
    """Whether a step that is not there will be another than it was, as far as can be known: one
    that the run had none of is (a replay between tokens and policy)."""
    before = old.get(step.path)
    return bool(old) and (before is None or _decides(step) != _decides(before))


def _decides(step: PlannedStep) -> tuple[dict[str, Any], dict[str, str]]:
    return identity(step.config), step.reads


def _changes(
    step: PlannedStep, inside: dict[str, PlannedStep], anew: set[str], other: set[str]
) -> list[str]:
    """What the step's record differs in; inputs that are not there as they were meant count as
    they were."""
    recorded = read_step(step.out / "_step.json")
    known = {}
    for name, value in step.reads.items():
        if made_by := inside.get(value):
            manifest = None if made_by.path in anew or value in other else made_by.done
            was = recorded["identity"]["inputs"].get(name, "")
            known[name] = manifest.fingerprint if manifest else was
    lines = changes(step.stage, recorded, describe(step.stage, step.config, step.inputs, known))
    return _answered_since(step, lines) if lines and step.stage is gate.STAGE else lines


def _answered_since(step: PlannedStep, lines: list[str]) -> list[str]:
    """A gate's changes: an answer that came once it had decided is told as such."""
    decision, answer = decision_of(step.out.parent), read_answer(step.out.parent)
    if not (decision and answer):
        return lines
    told = (
        f"has decided `{decision.action}`, and `{answer.action}` was answered since; made anew, it "
        f"takes that (to keep `{decision.action}`, answer so before)"
    )
    return [told if line.startswith("inputs.answer: ") else line for line in lines]
