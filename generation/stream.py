"""The stream: requests go in without a pause, samples come out, parts close as they fill."""

from collections.abc import Iterator, Mapping, Sequence

from contracts.progress import Progress
from generation.engines import Engine
from generation.journal import Journal
from generation.requests import Outcome, Request

Parts = Mapping[int, Sequence[Request]]
Done = dict[str, Outcome]


def whole_batches(parts: Parts, samples: Done, batch: int) -> Done:
    """The samples of batches that are finished; the rest of a broken batch is drawn again."""
    batches = (b for part in parts.values() for b in _batches(part, batch))
    finished = (b for b in batches if all(r.response_id in samples for r in b))
    return {r.response_id: samples[r.response_id] for b in finished for r in b}


def stream(
    parts: Parts, done: Done, engine: Engine, journal: Journal, progress: Progress
) -> Iterator[tuple[int, Sequence[Outcome]]]:
    """Sample what is missing; yields each part, in request order, once all of it is in.

    `done` holds the samples of whole batches. The engine is kept at its capacity across the
    parts' borders; each new sample is in the journal before it counts.
    """
    of_part = {r.response_id: index for index, part in parts.items() for r in part}
    missing = {index: sum(r.response_id not in done for r in part) for index, part in parts.items()}
    # Before any part is taken: a part that was taken is no longer in `done`.
    todo = [
        batch
        for part in parts.values()
        for batch in _batches(part, engine.batch)
        if any(r.response_id not in done for r in batch)
    ]
    for index in [index for index, count in missing.items() if not count]:
        yield index, _take(parts[index], done)
    for samples in _run(iter(todo), engine, journal):
        for sample in samples:
            done[sample.response_id] = sample
            index = of_part[sample.response_id]
            missing[index] -= 1
            if not missing[index]:
                yield index, _take(parts[index], done)
        progress.advance(len(samples))


def _run(
    todo: Iterator[Sequence[Request]], engine: Engine, journal: Journal
) -> Iterator[Sequence[Outcome]]:
    in_flight = 0
    while True:
        while in_flight < engine.capacity and (batch := next(todo, None)):
            engine.add(batch)
            in_flight += len(batch)
        if not in_flight:
            return
        if samples := engine.step():
            in_flight -= len(samples)
            journal.append(samples)
            yield samples
        journal.sync()


def _take(part: Sequence[Request], done: Done) -> Sequence[Outcome]:
    return [done.pop(request.response_id) for request in part]


def _batches(part: Sequence[Request], size: int) -> Iterator[Sequence[Request]]:
    return (part[first : first + size] for first in range(0, len(part), size))
