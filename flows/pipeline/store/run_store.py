"""What a flow does with its store, if it has one, while it goes on."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from contracts.errors import Interrupted, OnPolicyError, Terminated
from contracts.steps.lock import folder_lock
from contracts.steps.step import is_begun
from flows.pipeline.config import RunConfig
from flows.pipeline.console import console, print_warning
from flows.pipeline.folder import redo
from flows.pipeline.folder.reuse import take_over
from flows.pipeline.folder.run_folder import made_anew, settled
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.store.adopt import adopt, clear_begun
from flows.pipeline.store.claim import announce
from flows.pipeline.store.pusher import Pusher
from flows.pipeline.store.shelf import Shelf
from runtime.store.begun import Overtaken, last_checkpoint
from runtime.store.finished import Finished, clear_leftovers
from runtime.store.objects import Objects, StoreError

# How often a step's folder is looked at for a new checkpoint, which is pushed at once.
_LOOK_SECONDS = 5.0


class WithoutStore:
    """What the flow calls of a store, for a run that names none: nothing happens."""

    def begin(self, config: RunConfig, again: Sequence[str]) -> None:
        """Before the run is claimed: pull what there is, forget what is to be made anew."""

    def claimed(self, config: RunConfig) -> None:
        """The run is claimed: its config is settled."""

    def fetch(self, step: PlannedStep) -> None:
        """Fill the step's folder from the store, if it has the step and the folder has not."""

    @contextmanager
    def watching(self, step: PlannedStep) -> Iterator[None]:
        """Push what the step has made so far, while it is made."""
        yield

    def push(self, step: PlannedStep) -> None:
        """The step is finished."""

    def dropped(self, states: Sequence[Path]) -> None:
        """Optimizer's states of old rounds are removed here."""

    def finish(self) -> None:
        """The run ends."""


class RunStore(WithoutStore):
    """The store of a run: pulls what is there, pushes what is finished or begun."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._objects = Objects(str(config.resources.store))
        self._shelf = Shelf(self._objects, config.name)
        self._pusher = Pusher(print_warning)
        self._stored: set[str] = set()
        self._watches: dict[str, threading.Thread] = {}

    def begin(self, config: RunConfig, again: Sequence[str]) -> None:
        """Pull what there is, and forget what is to be made anew.

        Raises:
            StoreError: what is to be made anew cannot be removed from the store; nothing is.
            OnPolicyError, UserError: as `adopt`.
        """
        self._stored = adopt(config, again)
        paths = [step.path for step in made_anew(config, again)] + redo.recorded(config.folder)
        for path in reversed(paths):  # readers first: nothing stands on what is gone
            self._shelf.forget(path)
        self._stored -= {*paths}
        with suppress(StoreError):  # it costs room only, and the next start removes it
            self._shelf.forget_begun_of(self._stored)
        for step in plan(settled(config)):
            if step.done:
                clear_leftovers(step.out)

    def claimed(self, config: RunConfig) -> None:
        self._config = config
        self._pusher.put("the run's config", lambda: announce(self._objects, config))

    def fetch(self, step: PlannedStep) -> None:
        """Fill the step's folder from the store, if only the store has the step.

        Raises:
            ConfigDrift: the store holds this run's step as another config made it.
            FolderBusy: another process makes it here.
        """
        if step.done or is_begun(step.out):
            return
        try:
            if done := self._shelf.read(step):
                clear_begun(step.run, step.path)  # claimed, with nothing made in it
                self._shelf.pull(step, done)
                console.print(f"  {step.title}: pulled from {self._objects.address}")
            elif taken := self._taken_over(step):
                console.print(f"  {step.title}: taken over from {taken.manifest.taken_from}")
        except StoreError as error:
            print_warning(f"{step.title}: is made here, whatever the store has: {error}")

    def _taken_over(self, step: PlannedStep) -> Finished | None:
        """From the store, where no run beside this one has made the step."""
        if not step.shared or step.out.exists() or take_over(step):
            return None
        return self._shelf.pull_by_content(step)

    @contextmanager
    def watching(self, step: PlannedStep) -> Iterator[None]:
        every = self._config.resources.store_every
        if step.done or every is None:
            yield
            return
        ended = threading.Event()
        before = self._watches.get(step.path)
        watch = threading.Thread(target=self._watch, args=(step, every, ended, before), daemon=True)
        self._watches[step.path] = watch
        watch.start()
        try:
            yield
        finally:
            ended.set()

    def _watch(
        self, step: PlannedStep, every: float, ended: threading.Event,
        before: threading.Thread | None,
    ) -> None:  # fmt: skip
        if before:  # of an attempt that failed: it may be in the middle of a push
            before.join()
        snapshots = self._shelf.snapshots(step, self._config.resources.store_checkpoints)
        seconds, checkpoint = 0.0, last_checkpoint(step.out)
        while not ended.wait(min(_LOOK_SECONDS, every)):
            seconds += min(_LOOK_SECONDS, every)
            newest = last_checkpoint(step.out)
            if seconds < every and newest == checkpoint:
                continue
            seconds, checkpoint = 0.0, newest
            try:
                snapshots.push(lambda: not ended.is_set())
            except Overtaken as error:
                return print_warning(f"{step.title}: {error}")
            except (StoreError, OSError) as error:
                print_warning(f"{step.title}: what is made so far is not in the store: {error}")

    def push(self, step: PlannedStep) -> None:
        """Push a finished step, in a thread of its own.

        Raises:
            UserError: another machine has made this step, or one before it, otherwise.
        """
        if step.path not in self._stored:
            watch = self._watches.pop(step.path, None)
            until_ended = watch.join if watch else lambda: None
            self._pusher.put(step.path, lambda: self._shelf.push(step, until_ended))

    def dropped(self, states: Sequence[Path]) -> None:
        for folder in states:
            path = folder.parent.relative_to(self._config.folder).as_posix()
            self._pusher.put(f"{path}: no state", partial(self._shelf.drop_state, path))

    def finish(self) -> None:
        self._pusher.finish()


@contextmanager
def storing(config: RunConfig) -> Iterator[WithoutStore]:
    """The run's store, if it names one, and at the end all that it finished in it."""
    store = RunStore(config) if config.resources.store else WithoutStore()
    try:
        yield store
    except (Interrupted, Terminated, KeyboardInterrupt):
        raise
    except BaseException:
        try:
            store.finish()
        except OnPolicyError as error:  # what ended the run comes first
            print_warning(str(error))
        raise
    store.finish()


def push_finished(config: RunConfig) -> None:
    """Push what a run that is over has finished and its store lacks, e.g. after an outage.

    Raises:
        OnPolicyError, UserError: as `adopt`.
    """
    if not config.resources.store:
        return
    with folder_lock(config.folder), storing(config) as store:
        store.begin(config, ())
        store.claimed(settled(config))
        for step in plan(settled(config)):
            if step.done:
                store.push(step)
