"""Whose a run's place in a store is: `RUN/_run.json`, created once, by the run that came first."""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.config.base import as_file_name, check
from contracts.errors import UserError
from contracts.steps.step import config_changes
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.claimed import as_claimed
from flows.pipeline.folder.recorded import recorded
from flows.pipeline.folder.run_folder import run_identity
from runtime.store.objects import Objects
from runtime.store.run_id import OBJECT, id_here, write_id

_PROBE = "_probe"


@dataclass(frozen=True)
class Claim:
    """A run as the store knows it."""

    run: str
    """Its own id, which another run of that name does not have."""
    config: RunConfig
    """The config that it was last claimed with."""


def read_claim(objects: Objects, name: str) -> Claim | None:
    """The run of that name; None if the store has none.

    Raises:
        StoreError: the store cannot say.
        UserError: what lies there is damaged, or of another version.
    """
    where = f"{objects.address}/{name}/{OBJECT}"
    if (data := objects.read(f"{name}/{OBJECT}")) is None:
        return None
    try:
        held = json.loads(data)
        run, config = str(held["run"]), held["config"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{where}: is damaged; give the run another `name`") from None
    try:
        return Claim(run, check(RunConfig, config, origin=where))
    except UserError as error:
        raise UserError(
            f"{error}; if a newer onpolicy has written it, install that version here"
        ) from None


def names_in(objects: Objects) -> list[str]:
    """Names of folders in a store that may be runs; `is_run` says which are.

    Raises:
        StoreError: the store cannot say.
    """
    return [name for name in objects.folders() if as_file_name(name, "") == name]


def is_run(objects: Objects, name: str) -> bool:
    """Whether a run of that name lies in a store, and no folder of runs.

    Raises:
        StoreError: the store cannot say.
    """
    return objects.read(f"{name}/{OBJECT}") is not None


def refuse_overlap(config: RunConfig) -> None:
    """Refuse a shared folder as a store in which runs themselves lie: a step's folder there and in
    the store would be one.

    Raises:
        UserError: the run's folder and its store don't lie apart.
    """
    scheme, _, rest = str(config.resources.store).partition("://")
    if scheme.lower() != "file":
        return
    store, runs = Path(rest).resolve(), config.runs_dir.resolve()
    if store.is_relative_to(runs) or runs.is_relative_to(store / config.name):
        raise UserError(
            f"{config.resources.store}: a run's folder and its store must lie apart, and the run's "
            f"is {config.folder}; name a store outside the folder of runs"
        )


def refuse_another(objects: Objects, config: RunConfig, there: Claim) -> None:
    """Refuse a store that holds another run of the same name.

    Raises:
        UserError: the store holds another run of that name; says what is other.
    """
    if id_here(config.folder) == there.run:
        return
    ours = recorded(config.folder) or as_claimed(config, there.config)
    changes = config_changes(run_identity(there.config), run_identity(ours))
    if changes:
        raise UserError(
            f"{objects.address}/{config.name}: the store holds another run of this name; nothing "
            "was changed.\n  " + "\n  ".join(changes) + "\nChoose another `name` or another "
            "`resources.store`."
        )


def refuse_unwritable(objects: Objects, name: str) -> None:
    """Refuse a store that cannot be written to, or writes over what it is to create once.

    Raises:
        StoreError: nothing can be written there.
        UserError: of two machines that end a step, both would be told that they had.
    """
    probe = f"{name}/{_PROBE}"
    objects.write(probe, b"")
    if objects.create(probe, b"created"):
        raise UserError(
            f"{objects.address}: this server writes over an object that is to be created once "
            "(S3's `If-None-Match`), by which one machine alone ends a step; use another store"
        )


def take_up(folder: Path, there: Claim) -> None:
    """From here on the run in `folder` is the store's."""
    write_id(folder, there.run)


def announce(objects: Objects, config: RunConfig) -> None:
    """Tell the store which run this is, and by which config it goes on.

    Raises:
        StoreError: the store failed.
        UserError: another machine has begun another run of that name a moment ago.
    """
    key, mine = f"{config.name}/{OBJECT}", id_here(config.folder) or uuid.uuid4().hex
    data = _encoded(Claim(mine, config))
    if (there := read_claim(objects, config.name)) is None:
        write_id(config.folder, mine)
        if objects.create(key, data):
            return
        there = read_claim(objects, config.name)
    if there and there.run != mine:
        refuse_another(objects, config, there)
        write_id(config.folder, there.run)
        data = _encoded(Claim(there.run, config))
    if there is None or there.config != config:
        objects.write(key, data)


def _encoded(claim: Claim) -> bytes:
    held: dict[str, Any] = {"run": claim.run, "config": claim.config.model_dump(mode="json")}
    return json.dumps(held, indent=1).encode()
