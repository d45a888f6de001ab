"""The stream: requests go in without a pause, samples come out, parts close as they fill."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from generation.engines import Batch, Engine
from generation.engines.requests import Failure, Outcome, Request, Sample
from generation.sampling.journal import Journals
from runtime.progress import Progress

Parts = Iterable[tuple[int, Sequence[Request]] | None]
"""Index and requests of each part, in order, made when they are asked for; None as long as the
next one needs parts that are not written yet."""


class Part:
    """A part that is not whole yet."""

    def __init__(self, index: int, requests: Sequence[Request], done: Mapping[str, Outcome]):
        self.index = index
        self.requests = {request.response_id: request for request in requests}
        self._done = dict(done)

    @property
    def missing(self) -> int:
        """Requests without an outcome."""
        return len(self.requests) - len(self._done)

    @property
    def outcomes(self) -> list[Outcome]:
        """All outcomes in request order, once none is missing."""
        return [self._done[name] for name in self.requests]

    def put(self, outcome: Outcome) -> None:
        """Note an outcome."""
        self._done[outcome.response_id] = outcome

    def batches(self, size: int) -> list[Batch]:
        """The batches with a missing sample."""
        batches = _batches(askable(self.requests.values()), size)
        return [b for b in batches if any(r.response_id not in self._done for r in b)]


class Stream:
    """Parts on their way through an engine, which is kept at its capacity across their borders.

    A part is opened when the engine has room for it and forgotten when it is whole, so memory
    does not grow with the number of parts.
    """

    def __init__(
        self, parts: Parts, engine: Engine, journals: Journals, progress: Progress
    ) -> None:
        self._parts = parts
        self._engine = engine
        self._journals = journals
        self._progress = progress
        self._open: dict[str, Part] = {}
        """By response id."""
        self._whole: list[Part] = []
        self._refused: list[tuple[Request, Outcome]] = []

    def run(self) -> Iterator[tuple[list[tuple[Request, Outcome]], list[Part]]]:
        """Draw the missing samples: each step's outcomes, and the parts they completed.

        A sample is in its journal before it is counted.
        """
        todo = self._todo()
        in_flight, ended = 0, False
        while in_flight or not ended:
            capacity = self._engine.capacity  # counted over all workers: not for each request
            while in_flight < capacity:
                # An empty one stands for a part that cannot be asked yet.
                if not (batch := next(todo, None)):
                    ended = batch is None
                    break
                self._engine.add(batch)
                in_flight += len(batch)
            outcomes = self._engine.step() if in_flight else []
            in_flight -= len(outcomes)
            yield self._put(outcomes) + self._take_refused(), self._take_whole()
            self._progress.advance(len(outcomes))
            self._journals.sync()

    def _todo(self) -> Iterator[Batch]:
        for item in self._parts:
            if item is None:
                yield []
                continue
            index, requests = item
            known = self._journals.open(index)
            drawable = askable(requests)
            part = Part(index, requests, whole_batches(drawable, known, self._engine.batch))
            self._refuse(part)
            self._progress.resume(len(requests) - part.missing)
            if part.missing:
                self._open |= dict.fromkeys(part.requests, part)
            else:
                self._whole.append(part)
            yield from part.batches(self._engine.batch)

    def _put(self, outcomes: Sequence[Outcome]) -> list[tuple[Request, Outcome]]:
        drawn = []
        by_part: dict[int, list[Sample]] = {}
        for outcome in outcomes:
            part = self._open.pop(outcome.response_id)
            part.put(outcome)
            drawn.append((part.requests[outcome.response_id], outcome))
            if isinstance(outcome, Sample):
                by_part.setdefault(part.index, []).append(outcome)
            if not part.missing:
                self._whole.append(part)
        for index, samples in by_part.items():
            self._journals.append(index, samples)
        return drawn

    def _refuse(self, part: Part) -> None:
        """Note the requests of a part that cannot be asked."""
        for request in part.requests.values():
            if request.refusal:
                failure = Failure(request.response_id, str(request.refusal))
                part.put(failure)
                self._refused.append((request, failure))

    def _take_refused(self) -> list[tuple[Request, Outcome]]:
        refused, self._refused = self._refused, []
        return refused

    def _take_whole(self) -> list[Part]:
        finished, self._whole = self._whole, []
        for part in finished:
            for name in part.requests:
                self._open.pop(name, None)
        return finished


def askable(requests: Iterable[Request]) -> list[Request]:
    """The requests that an engine is given: those without a refusal."""
    return [request for request in requests if not request.refusal]


def whole_batches(
    requests: Sequence[Request], samples: Mapping[str, Sample], batch: int
) -> dict[str, Sample]:
    """The samples of batches that are finished; the rest of a broken batch is drawn again."""
    finished = (b for b in _batches(requests, batch) if all(r.response_id in samples for r in b))
    return {r.response_id: samples[r.response_id] for b in finished for r in b}


def _batches(part: Sequence[Request], size: int) -> Iterator[Batch]:
    return (part[first : first + size] for first in range(0, len(part), size))
