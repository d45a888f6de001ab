"""Before a run makes anything: all that its store has of it is pulled into its folder."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from contracts.config.yaml import dump_yaml
from contracts.errors import OnPolicyError, UserError
from contracts.steps.lock import folder_lock
from contracts.steps.manifest import Manifest
from contracts.steps.step import is_begun
from contracts.tables.parts import write_atomic
from flows.pipeline.config import RunConfig
from flows.pipeline.console import console, print_warning
from flows.pipeline.folder import paid, redo
from flows.pipeline.folder.prune import prune_quietly
from flows.pipeline.folder.recorded import NAME
from flows.pipeline.folder.run_folder import made_anew, make_folder, settled
from flows.pipeline.planning.next_steps import next_steps
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.store.claim import (
    Claim,
    read_claim,
    refuse_another,
    refuse_overlap,
    refuse_unwritable,
    take_up,
)
from flows.pipeline.store.shelf import Shelf, way_out
from runtime.store.begun import last_pushed
from runtime.store.finished import Finished
from runtime.store.objects import Objects, StoreError
from training import train


def adopt(config: RunConfig, again: Sequence[str] = ()) -> set[str]:
    """Make the run's folder what its store holds of the run; the paths of the steps it holds.
    The caller holds the folder's lock.

    Args:
        again: what is to be made anew, which is not pulled.

    Raises:
        OnPolicyError: the store does not answer.
        UserError: it may not be read or written; it lies among the runs; it holds another run of
            that name, or a step of this one that is another here.
    """
    refuse_overlap(config)
    objects = Objects(str(config.resources.store))
    try:
        there = read_claim(objects, config.name)
        if there:
            refuse_another(objects, config, there)
        refuse_unwritable(objects, config.name)
        if there:
            take_up_claim(config, there)
            return _adopt_steps(config, Shelf(objects, config.name), again)
    except StoreError as error:
        kind = UserError if error.is_refusal else OnPolicyError
        raise kind(f"resources.store: {error}\nNothing was started.") from None
    return set()


def adopt_first(config: RunConfig, again: Sequence[str] = ()) -> None:
    """`adopt` before anything is looked at, where the run has a store; makes its folder.

    Raises:
        FolderBusy: another process writes there.
        OnPolicyError, UserError: as `adopt`.
    """
    if config.resources.store:
        make_folder(config)
        with folder_lock(config.folder):
            adopt(config, again)


def refuse_unusable(config: RunConfig) -> None:
    """Look into the run's store, where it has one; reads only.

    Raises:
        OnPolicyError, UserError: as `adopt`.
    """
    if not config.resources.store:
        return
    refuse_overlap(config)
    objects = Objects(config.resources.store)
    try:
        objects.sizes(f"{config.name}/")
        if there := read_claim(objects, config.name):
            refuse_another(objects, config, there)
    except StoreError as error:
        raise UserError(str(error)) from None


def take_up_claim(config: RunConfig, there: Claim) -> None:
    """The run in the config's folder is the store's; with the store's config, if it has none, but
    for where the run and its store lie, as seen from here."""
    path = config.folder / NAME
    if not path.exists():
        resources = there.config.resources.model_copy(update={"store": config.resources.store})
        here = {"runs_dir": config.runs_dir, "name": config.name, "resources": resources}
        claimed = there.config.model_copy(update=here)
        write_atomic(path, dump_yaml(claimed.model_dump(mode="json")).encode())
    take_up(config.folder, there)


def _adopt_steps(config: RunConfig, shelf: Shelf, again: Sequence[str]) -> set[str]:
    anew = {step.path for step in made_anew(config, again)} | {*redo.recorded(config.folder)}
    stored = shelf.finished()
    pulled = 0
    for step in next_steps(settled(config)):
        if step.path in anew or _waits(step):
            continue
        if done := stored.get(step.path):
            pulled += _adopted(shelf, step, done)
            if step.stage is train.STAGE and not anew:  # those read more than is left to be made
                prune_quietly(settled(config))  # a disk that is to keep few has no room for all
        elif not step.done:
            _restore(shelf, step)
    if pulled:
        console.print(f"{config.name}: {pulled} steps pulled from {shelf.objects.address}")
    return set(stored)


def _adopted(shelf: Shelf, step: PlannedStep, done: Finished) -> bool:
    """Whether the step was pulled: it was not finished here.

    Raises:
        UserError: it is another here.
    """
    if here := step.done:
        refuse_other_content(shelf, step.out, step.path, here, done)
        return False
    clear_begun(step.run, step.path)
    shelf.pull(step, done)
    return True


def refuse_other_content(
    shelf: Shelf, folder: Path, path: str, here: Manifest, there: Finished
) -> None:
    """Refuse a step that is finished both here and in the store, with other content.

    Raises:
        UserError: the step is finished here with other content than in the store.
    """
    if here.fingerprint != there.manifest.fingerprint:
        raise UserError(
            f"{folder}: {shelf.objects.address} holds this step with other content, made by "
            f"another machine; nothing was changed. {way_out(folder, path)}"
        )


def clear_begun(run: Path, path: str) -> None:
    """Remove a step that was begun here and that another machine has finished since. Replies that
    were paid for are set aside.

    Raises:
        FolderBusy: it goes on.
        UserError: a finished step lies in it; nothing was removed.
    """
    folder = run / path
    if finished := next(folder.rglob("_manifest.json"), None):
        raise UserError(
            f"{folder}: is to be replaced by the store's, and {finished.parent} in it is finished; "
            "nothing was removed"
        )
    if folder.exists():
        with folder_lock(folder):
            paid.set_aside(run, path)
        shutil.rmtree(folder)


def _restore(shelf: Shelf, step: PlannedStep) -> None:
    """Take up what another machine has made of a step since this one last pushed it, if it ever
    did. What was begun is worth minutes, and no failure of the store ends a run for it."""
    try:
        begun = shelf.begun(step)
        if begun is None or (is_begun(step.out) and begun.number <= last_pushed(step.out)):
            return
        shelf.restore(step, begun, clear=lambda: clear_begun(step.run, step.path))
    except StoreError as error:
        print_warning(f"{step.path}: what another machine has made of it is not taken up: {error}")
    else:
        console.print(f"  {step.title}: goes on from what another machine has pushed")


def _waits(step: PlannedStep) -> bool:
    """Whether something of the run that the step reads is not finished."""
    read = [Path(value) for value in step.reads.values()]
    inside = [path for path in read if path.is_relative_to(step.run)]
    return any(not (path / "_manifest.json").is_file() for path in inside)
