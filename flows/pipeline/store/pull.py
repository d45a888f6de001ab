"""`onpolicy pull`: a run's finished steps out of a store, into its folder here."""

from difflib import get_close_matches
from pathlib import Path

from contracts.config.base import as_file_name
from contracts.errors import UserError
from contracts.steps.lock import folder_lock
from contracts.steps.manifest import read_manifest
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import make_folder, settled
from flows.pipeline.planning.plan import plan
from flows.pipeline.store.adopt import clear_begun, refuse_other_content, take_up_claim
from flows.pipeline.store.claim import (
    Claim,
    is_run,
    names_in,
    read_claim,
    refuse_another,
    refuse_overlap,
)
from flows.pipeline.store.shelf import Shelf
from runtime.store.address import address_given
from runtime.store.finished import Finished
from runtime.store.objects import Objects, StoreError

_SHOWN = 5


def pull_run(name: str, address: str, runs: Path) -> str:
    """Fetch every finished step of a run that is not here; what was fetched, in words.

    What lies in the store by a path that the run's config does not plan is left there.

    Raises:
        FolderBusy: the run is going on here.
        UserError: the store has no such run, or another than the one that is here; or it lies
            among the runs here.
        StoreError: the store does not answer.
    """
    objects = Objects(address_given("--store", address))
    there = read_claim(objects, name) if as_file_name(name, "") == name else None
    if there is None:
        raise UserError(f"{objects.address}: holds no run {name!r}{_known(objects, name)}")
    resources = there.config.resources.model_copy(update={"store": objects.address})
    here = {"runs_dir": runs, "name": name, "resources": resources}
    config = there.config.model_copy(update=here)
    refuse_overlap(config)
    make_folder(config)
    with folder_lock(config.folder):
        refuse_another(objects, config, there)
        return _pull(Shelf(objects, name), config, there)


def _pull(shelf: Shelf, config: RunConfig, there: Claim) -> str:
    take_up_claim(config, there)
    planned = {step.path for step in plan(settled(config))}
    stored = {path: done for path, done in shelf.finished().items() if path in planned}
    missing = [path for path, done in stored.items() if not _is_here(shelf, config, path, done)]
    for path in missing:
        clear_begun(config.folder, path)
        shelf.pull_to(path, stored[path], config.folder / path)
    size = sum(sum(stored[path].manifest.sizes.values()) for path in missing)
    return (
        f"{config.folder}: {len(missing)} of {len(stored)} finished steps pulled "
        f"({size / (1 << 20):,.1f} MiB); `onpolicy run {config.folder}/config.yaml` goes on"
    )


def _is_here(shelf: Shelf, config: RunConfig, path: str, done: Finished) -> bool:
    here = read_manifest(config.folder / path)
    if here is not None:
        refuse_other_content(shelf, config.folder / path, path, here, done)
    return here is not None


def _known(objects: Objects, name: str) -> str:
    """Which runs the store has, of many the nearest by name; how to see them all."""
    try:
        names = names_in(objects)
        if len(names) <= _SHOWN:
            runs = [one for one in names if is_run(objects, one)]
            return f"; it has {', '.join(runs) or 'none at all: mind the prefix'}"
        near = [one for one in get_close_matches(name, names, _SHOWN) if is_run(objects, one)]
    except StoreError:
        return ""
    told = f"; of its {len(names):,} runs these are nearest: {', '.join(near)}"
    others = told if near else f"; it has {len(names):,} others"
    return f"{others} (`onpolicy inspect {objects.address}` lists all)"
