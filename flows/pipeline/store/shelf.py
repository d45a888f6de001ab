"""A run's steps in its store: by the run's own name, and by what they are made of."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from contracts.errors import ConfigDrift, UserError
from contracts.steps.fingerprint import of_json
from contracts.steps.manifest import is_inside, versions
from contracts.steps.step import changes, describe, read_step
from flows.pipeline.console import print_warning
from flows.pipeline.planning.planned_step import PlannedStep
from runtime.store import finished
from runtime.store.begun import Begun, Snapshots, forget_begun, read_begun, restore
from runtime.store.finished import MANIFEST, Finished, read_finished
from runtime.store.objects import Objects, at_once
from training import carried

_BY_CONTENT = "_steps"


class Shelf:
    """What a store holds of one run."""

    def __init__(self, objects: Objects, run: str) -> None:
        self.objects = objects
        self.run = run

    def finished(self) -> dict[str, Finished]:
        """Every finished step whose files are all there, by its path; of others it is told.

        Raises:
            StoreError: the store cannot say.
        """
        found: dict[str, Finished] = {}

        def read(path: str) -> None:
            done = read_finished(self.objects, f"{self.run}/{path}")
            if done and self._is_whole(path, done, sizes):
                found[path] = done

        sizes = self.objects.sizes(f"{self.run}/")
        keys = [key.removeprefix(f"{self.run}/") for key in sizes if key.endswith(f"/{MANIFEST}")]
        paths = [key.removesuffix(f"/{MANIFEST}") for key in keys]
        at_once(read, sorted(path for path in paths if is_inside(path)))
        return found

    def _is_whole(self, path: str, done: Finished, sizes: Mapping[str, int]) -> bool:
        """By the sizes of all that the run has there; asked again, for what was pushed since."""
        place = f"{self.run}/{path}"
        if not done.lacking(place, sizes):
            return True
        lacking = done.lacking(place, self.objects.sizes(f"{place}/{done.manifest.fingerprint}"))
        if lacking:
            print_warning(
                f"{self.objects.address}/{place}: {len(lacking)} of {len(done.manifest.files)} "
                f"files are gone or cut ({lacking[0]}); the step counts as not there until a "
                "machine that has it, or makes it alike, pushes it again"
            )
        return not lacking

    def read(self, step: PlannedStep) -> Finished | None:
        """The step as the store holds it, if it does.

        Raises:
            StoreError: the store cannot say.
        """
        return read_finished(self.objects, self._key(step))

    def pull(self, step: PlannedStep, done: Finished) -> None:
        """Make the step's folder as the run left it.

        Raises:
            StoreError: the store failed, or a file is not what was pushed.
            ConfigDrift: the step was made by another config or from other inputs.
        """
        if lines := changes(step.stage, done.step, _described(step)):
            raise ConfigDrift(
                f"{self._place(step)}: was made by another config; nothing was changed.\n  "
                + "\n  ".join(lines)
                + "\nChoose another `name`, or have it made anew: `onpolicy pull` the run, then "
                f"the same `onpolicy run` with `--redo {step.path}`."
            )
        finished.pull(self.objects, self._key(step), done, step.out)

    def pull_to(self, path: str, done: Finished, out: Path) -> None:
        """Make the folder of any finished step, whatever config it was made by.

        Raises:
            StoreError: as `pull`.
        """
        finished.pull(self.objects, f"{self.run}/{path}", done, out)

    def pull_by_content(self, step: PlannedStep) -> Finished | None:
        """Take the step over from any run that made it by the same settings from the same inputs
        with the same packages; None where the store knows of none.

        Raises:
            StoreError: as `pull`.
        """
        planned = _described(step)
        data = self.objects.read(_content_key(planned, versions()))
        place = _place_in(data) if data else None
        done = read_finished(self.objects, place) if place else None
        if place is None or done is None or not _will_do(step, planned, done):
            return None
        origin = done.manifest.taken_from or f"{self.objects.address}/{place}"
        taken = replace(done, step=planned, manifest=replace(done.manifest, taken_from=origin))
        finished.pull(self.objects, place, taken, step.out)
        return taken

    def push(self, step: PlannedStep, until_ended: Callable[[], object]) -> None:
        """Push a finished step, and make it known by its content.

        Args:
            until_ended: waits until no more is pushed of what it had made before it was finished.

        Raises:
            StoreError, UserError: as `runtime.store.finished.push`.
        """
        try:
            finished.push(self.objects, self._key(step), step.out, beside=carried.FOLDER)
        except finished.TakenByAnother as error:
            raise UserError(f"{error}. {way_out(step.out, step.path)}") from None
        until_ended()
        forget_begun(self.objects, self._key(step))
        manifest = step.done
        if step.shared and manifest and not manifest.taken_from:
            key = _content_key(read_step(step.out / "_step.json"), manifest.versions)
            held = {"run": self.run, "path": step.path}
            self.objects.write(key, json.dumps(held).encode())

    def begun(self, step: PlannedStep) -> Begun | None:
        """What was made of a step before its machine was taken away; None if that is nothing, or
        was made by another config.

        Raises:
            StoreError: the store cannot say.
        """
        begun = read_begun(self.objects, self._key(step))
        return begun if begun and not changes(step.stage, begun.step, _described(step)) else None

    def forget_begun_of(self, paths: Collection[str]) -> None:
        """Remove what was left of finished steps from before they were finished.

        Raises:
            StoreError: the store failed.
        """
        keys = self.objects.sizes(f"{self.run}/") if paths else {}
        for path in paths:
            place = f"{self.run}/{path}"
            if any(key.startswith(f"{place}/_begun/") for key in keys):
                forget_begun(self.objects, place)

    def restore(self, step: PlannedStep, begun: Begun, clear: Callable[[], None]) -> None:
        """Make the step's folder as it was then; `clear` removes what lies there before.

        Raises:
            StoreError: the store failed.
        """
        restore(self.objects, self._key(step), begun, step.out, clear)

    def snapshots(self, step: PlannedStep, checkpoints: bool) -> Snapshots:
        """What pushes the step's unfinished work."""
        return Snapshots(self.objects, self._key(step), step.out, checkpoints)

    def forget(self, path: str) -> None:
        """Remove a step that is to be made anew.

        Raises:
            StoreError: the store failed.
        """
        finished.forget(self.objects, f"{self.run}/{path}")

    def drop_state(self, path: str) -> None:
        """Remove the optimizer's state of a policy; 12 bytes a weight."""
        keys = self.objects.sizes(f"{self.run}/{path}")
        self.objects.remove(key for key in keys if f"/{carried.FOLDER}/" in key)

    def _key(self, step: PlannedStep) -> str:
        return f"{self.run}/{step.path}"

    def _place(self, step: PlannedStep) -> str:
        return f"{self.objects.address}/{self._key(step)}"


def way_out(folder: Path, path: str) -> str:
    """What to do where two machines made one step."""
    return (
        "Let one machine go on with a run. To take the store's step, delete "
        f"{folder} and those after it; to replace it, give the same `onpolicy run` with "
        f"`--redo {path}`"
    )


def _described(step: PlannedStep) -> dict[str, Any]:
    return describe(step.stage, step.config, step.inputs)


def _content_key(step: dict[str, Any], made_by: dict[str, str]) -> str:
    essence = {key: step[key] for key in ("stage", "version", "identity")}
    return f"{_BY_CONTENT}/{of_json(essence | {'versions': made_by})}.json"


def _place_in(data: bytes) -> str | None:
    try:
        held = json.loads(data)
        place = f"{held['run']}/{held['path']}"
    except (ValueError, KeyError, TypeError):
        return None
    return place if is_inside(place) else None


def _will_do(step: PlannedStep, planned: dict[str, Any], done: Finished) -> bool:
    same = not changes(step.stage, done.step, planned) and done.manifest.versions == versions()
    return same and not step.stage.refuse(step.config, done.manifest)
