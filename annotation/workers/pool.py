"""Several processes that score, one per GPU; parts are taken off one list.

A part whose worker was killed from outside goes back to the list. Where the scoring itself
crashed or hung, another worker tries it, where there is one: a worker whose crashes no other
repeats is left out. A part that no worker scores is tried prompt by prompt, so that the message
says which one it was; where no prompt crashes alone, it gets one more try as a whole.
"""

import base64
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotation.config import ScoreConfig
from annotation.scoring.inputs import ScoreInputs
from annotation.scoring.part_scorer import Parts
from annotation.workers.main import work
from contracts.errors import OnPolicyError
from runtime.pool.deaths import Roster
from runtime.pool.listening import Listener
from runtime.pool.messages import WorkerMessage
from runtime.pool.placement import Places
from runtime.pool.worker import Patience, WorkerHandle

log = logging.getLogger(__name__)


@dataclass
class Part:
    """A part to be scored."""

    index: int
    path: Path
    crashed: set[int] = field(default_factory=set)
    """Numbers of the workers that scoring it ended."""
    one_by_one: bool = False
    """Whether the next try is to find the prompt that did."""
    searched: bool = False
    """Whether no prompt of it did by itself."""


class ScoringWorker(WorkerHandle):
    """A process, and the part that it scores."""

    def begin(self) -> None:
        """Start the process, without a part."""
        self.part: Part | None = None
        self.step = ""
        """What it does with a part that it scores one by one."""
        super().begin()

    @property
    def busy(self) -> bool:
        """Whether it has work in flight."""
        return self.part is not None

    def give(self, part: Part) -> None:
        """Let it score a part."""
        self.part, self.step = part, ""
        self.send(index=part.index, path=str(part.path), one_by_one=part.one_by_one)


class WorkerPool:
    """Several scoring workers behind the protocol of `PartScorer`."""

    def __init__(
        self, placement: Places, config: ScoreConfig, inputs: ScoreInputs, out: Path
    ) -> None:
        annotators = [annotator.shared_by(placement.workers) for annotator in config.annotators]
        shared = config.model_copy(update={"annotators": annotators})
        self._job = {
            "config": shared.model_dump(mode="json"),
            "inputs": inputs.plain(),
            "out": str(out),
        }
        self._placement = placement
        self._patience = Patience(config.resources.hang_timeout, config.resources.load_timeout)
        self._loads = f"annotators {', '.join(a.reference or a.name for a in annotators)}"
        self._begun = 0
        self._waiting: deque[Part] = deque()
        self._roster: Roster[ScoringWorker] = Roster("scoring", "part")
        self._listener: Listener[ScoringWorker] = Listener()

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest records of each annotator; known once a worker is ready."""
        return dict(next(worker.about for worker in self._workers if worker.about is not None))

    def score(self, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Each part's index and its SCORES as the bytes of its file, in the order of completion.

        Raises:
            UserError: an annotator cannot be used.
            OnPolicyError: scoring a part crashes every time, or no worker lives long enough.
        """
        self._waiting.extend(Part(index, path) for index, path in parts.items())
        # One, even if everything is scored, to say its facts. What a worker has of the machine
        # does not depend on how many parts are left: threads move the last bits.
        count = min(self._placement.workers, max(1, len(parts)))
        self._begin(count)
        while self._at_work:
            self._begin(min(self._placement.joined(), self._unattended))
            self._hand_out()
            for worker, message in self._listener.poll(self._workers):
                if worker not in self._workers:
                    continue  # left out since it spoke
                if message is None:
                    self._replace(worker)
                else:
                    yield from self._take(worker, message)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.end()
        self._placement.close()

    def _begin(self, count: int) -> None:
        """Start so many workers, the next numbers."""
        common = work, self._job, self._patience, self._loads
        for _ in range(count):
            self._workers.append(ScoringWorker(self._placement, self._begun, *common))
            self._begun += 1

    @property
    def _at_work(self) -> bool:
        known = any(worker.about is not None for worker in self._workers)
        return bool(self._waiting) or not known or any(worker.busy for worker in self._workers)

    @property
    def _unattended(self) -> int:
        """Parts that wait for more than the workers without one; those may be loading."""
        idle = sum(not worker.busy for worker in self._workers)
        return max(0, len(self._waiting) - idle)

    @property
    def _workers(self) -> list[ScoringWorker]:
        return self._roster.workers

    def _hand_out(self) -> None:
        """A worker that crashed waits until others have tried what it crashed with."""
        at_work = [worker.part for worker in self._workers if worker.part]
        accused = {number for part in [*self._waiting, *at_work] for number in part.crashed}
        for worker in self._workers:
            if not worker.ready or worker.busy:
                continue
            fit = (part for part in self._waiting if self._may_try(worker, part, accused))
            if part := next(fit, None):
                self._waiting.remove(part)
                worker.give(part)

    def _may_try(self, worker: ScoringWorker, part: Part, accused: set[int]) -> bool:
        if not part.crashed:
            return worker.number not in accused
        others = self._roster.others(frozenset(part.crashed))
        return not others or worker in others

    def _take(self, worker: ScoringWorker, message: WorkerMessage) -> Iterator[tuple[int, bytes]]:
        part = worker.part
        assert part is not None
        match message:
            case {"next": step}:
                worker.step = step
            case {"fine": _}:
                part.one_by_one, part.searched, worker.part = False, True, None
                self._waiting.appendleft(part)
            case {"scored": data}:
                worker.part = None
                self._roster.note_done(worker)
                self._clear(worker, part)
                # Before the scores are written, so that the worker has work meanwhile.
                self._hand_out()
                yield part.index, base64.b64decode(data)

    def _clear(self, worker: ScoringWorker, part: Part) -> None:
        """Leave out workers that keep crashing with what this one does."""
        if worker.number in part.crashed:
            return
        for broken in self._roster.refute(frozenset(part.crashed)):
            if broken.part:
                self._waiting.appendleft(broken.part)
            broken.end()
            why = "crashes with parts that others score, and is taken for broken"
            self._roster.leave_out(broken, why)

    def _replace(self, worker: ScoringWorker) -> None:
        """Start a dead worker anew, and put its part back."""
        death = worker.reap()
        part = worker.part
        log.warning("%s ended (%s) %s", worker, death.reason, part and part.path)
        if part and not death.from_outside:
            self._blame(part, worker, death.reason)
        if part:
            self._waiting.appendleft(part)
        suspects = int(part is not None and not death.from_outside)
        self._roster.note_death(worker, death, suspects)

    def _blame(self, part: Part, worker: ScoringWorker, reason: str) -> None:
        if part.searched or (part.one_by_one and worker.step):
            what = f"{worker.step} " if worker.step else "scoring it "
            raise OnPolicyError(
                f"{part.path}: {what}crashed a worker again ({reason}). Finished parts are kept: "
                "run the same command again when the cause is gone"
            )
        part.crashed.add(worker.number)
        part.one_by_one = not self._roster.others(frozenset(part.crashed))
