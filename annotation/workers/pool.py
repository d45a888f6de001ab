"""Several processes that score, one per GPU; parts are taken off one list.

A part whose worker was killed from outside goes back to the list. Where the scoring itself
crashed or hung, another worker tries it, where there is one: a worker whose crashes no other
repeats is left out. A part that no worker scores is tried prompt by prompt, so that the message
says which one it was; where no prompt crashes alone, it gets one more try as a whole.

While it scores a part, a worker prepares another one. Where it dies of one of the two, and nobody
can say of which, both are tried again, each alone.
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
from runtime.pool.worker import Death, Patience, WorkerHandle

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
    alone: bool = False
    """Whether it is one of two, of which one did."""

    @property
    def suspect(self) -> bool:
        """Whether it may crash a worker; no other part is put at risk with it."""
        return self.alone or bool(self.crashed)


class ScoringWorker(WorkerHandle):
    """A process, the part that it scores, and the one that it prepares meanwhile."""

    def begin(self) -> None:
        """Start the process, without a part."""
        self.parts: deque[Part] = deque()
        self.prepared: set[int] = set()
        """Indices of parts that it has read and tokenised."""
        self.step = ""
        """What it does with a part that it scores one by one."""
        super().begin()

    @property
    def busy(self) -> bool:
        """Whether it has work in flight."""
        return bool(self.parts)

    @property
    def part(self) -> Part | None:
        """The part that it scores."""
        return self.parts[0] if self.parts else None

    def give(self, part: Part) -> None:
        """Let it score a part, once it is done with the one before."""
        self.parts.append(part)
        self.step = ""
        self.send(index=part.index, path=str(part.path), one_by_one=part.one_by_one)

    def suspects(self, death: Death) -> list[Part]:
        """The parts that may have ended it: the one that it scored, and the one that it prepared
        unless it has said that it had, or why it ended."""
        ahead = (part for part in list(self.parts)[1:] if part.index not in self.prepared)
        return [*list(self.parts)[:1], *([] if death.told else ahead)]


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
        """First to those without a part, then one to be prepared to each of the others.

        A worker that crashed waits until others have tried what it crashed with.
        """
        at_work = [part for worker in self._workers for part in worker.parts]
        accused = {number for part in [*self._waiting, *at_work] for number in part.crashed}
        for holding in (0, 1):
            for worker in self._workers:
                if not worker.ready or len(worker.parts) != holding:
                    continue
                fit = (part for part in self._waiting if self._may_try(worker, part, accused))
                part = next(fit, None)
                if part and (not holding or self._may_prepare(worker, part)):
                    self._waiting.remove(part)
                    worker.give(part)

    def _may_prepare(self, worker: ScoringWorker, part: Part) -> bool:
        # The last ones go to whoever is free first.
        enough = len(self._waiting) >= len(self._workers)
        return enough and not part.suspect and not worker.parts[0].suspect

    def _may_try(self, worker: ScoringWorker, part: Part, accused: set[int]) -> bool:
        if not part.crashed:
            return worker.number not in accused
        others = self._roster.others(frozenset(part.crashed))
        return not others or worker in others

    def _take(self, worker: ScoringWorker, message: WorkerMessage) -> Iterator[tuple[int, bytes]]:
        part = worker.part
        assert part is not None
        match message:
            case {"prepared": index}:
                worker.prepared.add(index)
            case {"next": step}:
                worker.step = step
            case {"fine": _}:
                part.one_by_one, part.searched = False, True
                self._put_back(worker)
            case {"scored": index, "scores": data}:
                # Else one part's scores would stand in another's table.
                assert index == part.index, f"{worker} scored part {index} before {part.index}"
                worker.parts.popleft()
                worker.prepared.discard(part.index)
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
            self._put_back(broken)
            broken.end()
            why = "crashes with parts that others score, and is taken for broken"
            self._roster.leave_out(broken, why)

    def _replace(self, worker: ScoringWorker) -> None:
        """Start a dead worker anew, and put its parts back."""
        death = worker.reap()
        log.warning("%s ended (%s) %s", worker, death.reason, worker.part and worker.part.path)
        suspects = [] if death.from_outside else worker.suspects(death)
        if len(suspects) == 1:
            self._blame(suspects[0], worker, death.reason)
        for part in suspects:
            part.alone = True
        self._put_back(worker)
        self._roster.note_death(worker, death, len(suspects))

    def _put_back(self, worker: ScoringWorker) -> None:
        while worker.parts:
            self._waiting.appendleft(worker.parts.pop())

    def _blame(self, part: Part, worker: ScoringWorker, reason: str) -> None:
        if part.searched or (part.one_by_one and worker.step):
            what = f"{worker.step} " if worker.step else "scoring it "
            raise OnPolicyError(
                f"{part.path}: {what}crashed a worker again ({reason}). Finished parts are kept: "
                "run the same command again when the cause is gone"
            )
        part.crashed.add(worker.number)
        part.one_by_one = not self._roster.others(frozenset(part.crashed))
