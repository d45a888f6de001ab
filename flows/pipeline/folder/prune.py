"""Old policies' weights, freed where no step that is left, and no gate, can ask for them.

Nothing else of a finished run is large: training's checkpoints and the journals go as their steps
end. A freed file's hash stays in the manifest, so that whatever was made from it is as it was. The
optimizer's state beside a policy goes with its weights, without which no round can go on from it.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from contracts.errors import OnPolicyError, UserError
from contracts.steps.disk_space import bytes_below
from contracts.steps.lock import folder_lock
from contracts.steps.manifest import Manifest, read_manifest, save_manifest
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.recorded import NAME, recorded
from flows.pipeline.planning.lineage import lineage
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.planned_step import PlannedStep
from runtime.store.finished import read_finished
from runtime.store.objects import Objects
from training import carried, train

_WEIGHTS = ".safetensors"
_GIB = 1 << 30


@dataclass(frozen=True)
class Freed:
    """The weights of one round's policy, and the optimizer's state beside them."""

    folder: Path
    files: tuple[str, ...]
    size: int
    """Bytes, those of the state among them."""


def prune(run: Path, keep: int, dry_run: bool = False) -> str:
    """Free what may go of the run in a folder; a line for each policy, and their sum.

    Args:
        keep: how many of the last rounds' policies stay, whoever reads them.
        dry_run: say what would be freed, free nothing.

    Raises:
        FolderBusy: the run is going on.
        UserError: there is no such run.
        StoreError: its store cannot say which policies it has.
    """
    config = recorded(run)
    if config is None:
        raise UserError(f"{run}: no run lies here (it has no config.yaml)")
    # Where it lies now: it may have been moved since it was claimed.
    config = config.model_copy(
        update={"runs_dir": run.absolute().parent, "name": run.absolute().name}
    )
    with folder_lock(run):
        freed = prunable(config, keep)
        if not dry_run:
            _free(freed)
    verb = "would free" if dry_run else "freed"
    lines = [f"{one.folder}: {verb} {one.size / _GIB:.3g} GiB" for one in freed]
    total = sum(one.size for one in freed)
    return "\n".join([*lines, f"{verb} {total / _GIB:.3g} GiB of {len(freed)} policies"])


def prune_quietly(config: RunConfig) -> str | None:
    """What a run frees after a round, where its config asks for it; the caller holds its lock."""
    keep = config.resources.keep_policies
    try:
        freed = prunable(config, keep) if keep else []
    except OnPolicyError:  # its store is down: they are freed after a round in which it answers
        return None
    _free(freed)
    if not freed:
        return None
    return f"freed the weights of {', '.join(str(one.folder) for one in freed)}"


def prunable(config: RunConfig, keep: int) -> list[Freed]:
    """The policies whose weights nothing can ask for, but `--redo`; of a run with a store, those
    that the store has.

    Raises:
        StoreError: the store cannot say.
    """
    steps = plan(config)
    needed = {value for step in steps if not step.done for value in step.reads.values()}
    needed |= {str(config.folder / f"round-{number}/policy") for number in _standing(config)}
    needed |= set(_newest(steps, keep))
    freed = []
    for step in steps:
        if step.stage is not train.STAGE or str(step.out) in needed or not step.done:
            continue
        one = _what_is_there(step.out, step.done)
        if one.size and not _is_named_elsewhere(config.folder, step.out) and _is_safe(config, step):
            freed.append(one)
    return freed


def _newest(steps: Sequence[PlannedStep], keep: int) -> list[str]:
    """The folders of the last `keep` policies that are made, whatever rounds are still to come."""
    made = [str(step.out) for step in steps if step.stage is train.STAGE and step.done]
    return made[-keep:]


def _what_is_there(folder: Path, manifest: Manifest) -> Freed:
    """What of a policy can be freed, the rest of what a killed process has begun to free too."""
    left = {name: folder / name for name in manifest.freed if (folder / name).is_file()}
    whole = {name: folder / name for name in manifest.files if name.endswith(_WEIGHTS)}
    size = sum(path.stat().st_size for path in (left | whole).values() if path.is_file())
    return Freed(folder, tuple(left | whole), size + bytes_below(folder / carried.FOLDER))


def _is_safe(config: RunConfig, step: PlannedStep) -> bool:
    """Whether the run's store, where it has one, holds these weights: its push may be queued."""
    if config.resources.store is None or step.done is None:
        return True
    objects, place = Objects(config.resources.store), f"{config.name}/{step.path}"
    there = read_finished(objects, place)
    if there is None or there.manifest.freed:
        return False
    is_same = there.manifest.fingerprint == step.done.fingerprint
    # Nobody could push again what is freed here and has gone from the store.
    return is_same and not there.lacking(place, objects.sizes(place))


def _standing(config: RunConfig) -> set[int]:
    """Rounds whose policies a next round may begin from, whatever a gate decides; and the last."""
    decided = lineage(config)
    standing = {decided.standing[-1], decided.good[-1]}
    if decided.undecided:
        before = decided.undecided - 1
        standing |= {decided.undecided, decided.standing[before], decided.good[before]}
    return standing


def _is_named_elsewhere(run: Path, policy: Path) -> bool:
    """Whether another run beside this one names the policy in its config."""
    names = {str(policy), str(policy.resolve()), f"{run.name}/{policy.relative_to(run)}"}
    configs: Iterable[Path] = run.parent.glob(f"*/{NAME}")
    return any(
        any(name in path.read_text() for name in names)
        for path in configs
        if path.parent.resolve() != run.resolve()
    )


def _free(freed: Sequence[Freed]) -> None:
    for one in freed:
        manifest = read_manifest(one.folder)
        assert manifest is not None
        gone = {name: manifest.files[name] for name in one.files if name in manifest.files}
        files = {name: value for name, value in manifest.files.items() if name not in gone}
        sizes = {name: size for name, size in manifest.sizes.items() if name in files}
        # First the record: a file that is gone without it would be damage.
        freed_files = manifest.freed | gone
        save_manifest(one.folder, replace(manifest, files=files, sizes=sizes, freed=freed_files))
        for name in one.files:
            (one.folder / name).unlink(missing_ok=True)
        shutil.rmtree(one.folder / carried.FOLDER, ignore_errors=True)
