"""`python -m benchmarks.ray_driver`: one driver and 1,000 workers that only seem to sample.

The driver is the stage's own: stream, pool, messages, journals and parts on the disk, texts out of
token ids, on a real Ray cluster. Its workers are coroutines in a few actors, eight answers at a
time each. An answer takes the time that its tokens would at 50 tokens/s; their number is drawn from
lengths that were measured: those of the 805 released AlpacaEval answers of gemma-2-9b-it-SimPO, at
1.35 tokens a word. The figure is the share of the workers' places that were busy while there was
work on the queue. WORKERS and RESPONSES in the environment ask for fewer.
"""

import asyncio
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.support.generation_demo import FOLDER
from benchmarks.support.outcome import report
from benchmarks.support.ray_environment import set_ray_environment
from contracts.models.model import load_tokenizer
from generation.config import SampleConfig
from generation.engines import Job
from generation.engines.requests import Request
from generation.sampling.filling import Tally, fill
from generation.sampling.journal import Journals
from generation.sampling.tables import Writer
from generation.workers.pool import WorkerPool
from runtime.cluster.config import RayCluster
from runtime.cluster.placement import RayPlacement
from runtime.cluster.seating import Request as Workers
from runtime.pool.messages import pack, unpack
from runtime.progress import Progress

_WORKERS = int(os.environ.get("WORKERS", "1000"))
_RESPONSES = int(os.environ.get("RESPONSES", "300000"))
_SLOTS = 8
_CROWDS = 4
_TOKENS_A_SECOND = 50.0
_LENGTHS = (1, 50, 119, 201, 281, 355, 412, 470, 531, 602, 1322)
"""Tokens of an answer at each tenth from the shortest to the longest."""
_PROMPTS_A_PART, _SAMPLES = 512, 5
_PROMPT = [7 + number % 90 for number in range(64)]
_ANSWER = [7 + number % 90 for number in range(max(_LENGTHS))]


class Crowd:
    """Many seats in one actor, each with a worker that sleeps in place of sampling."""

    def __init__(self) -> None:
        self._outboxes: dict[int, asyncio.Queue[bytes]] = {}
        self._places: dict[int, asyncio.Semaphore] = {}
        self._random: dict[int, random.Random] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = 0.0
        self._taken = 0
        self._since = time.monotonic()

    async def start(self, life: int, spec: str) -> str:
        """A worker is there at once."""
        self._outboxes[life], self._places[life] = asyncio.Queue(), asyncio.Semaphore(_SLOTS)
        self._random[life] = random.Random(life)
        self._outboxes[life].put_nowait(pack({"ready": 2 * _SLOTS}))
        return json.dumps({"place": "a node", "node": "a node"})

    async def send(self, life: int, index: int, data: bytes) -> None:
        """Requests begin as places get free."""
        for batch in unpack(data).get("batches", ()):
            task = asyncio.create_task(self._answer(life, f"{batch[0][0]}-{batch[0][1]}"))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def receive(self, life: int) -> tuple[list[bytes], int | None]:
        """What the worker has said."""
        outbox = self._outboxes[life]
        messages = [await outbox.get()]
        while not outbox.empty():
            messages.append(outbox.get_nowait())
        return messages, None

    async def kill(self, life: int) -> None:
        """They end with the actor."""

    async def busy(self) -> float:
        """Seconds that places were busy, so far."""
        self._count(0)
        return self._busy

    async def _answer(self, life: int, response_id: str) -> None:
        async with self._places[life]:
            self._count(1)
            length = _length(self._random[life])
            await asyncio.sleep(length / _TOKENS_A_SECOND)
            self._count(-1)
        sample = {"response_id": response_id, "tokens": _ANSWER[:length], "finish_reason": "stop"}
        self._outboxes[life].put_nowait(pack({"outcomes": [sample]}))

    def _count(self, change: int) -> None:
        now = time.monotonic()
        self._busy += self._taken * (now - self._since)
        self._taken, self._since = self._taken + change, now


def _length(draw: random.Random) -> int:
    """Tokens of an answer."""
    place = draw.random() * (len(_LENGTHS) - 1)
    low = int(place)
    return round(_LENGTHS[low] + (place - low) * (_LENGTHS[low + 1] - _LENGTHS[low]))


class Crowded(RayPlacement):
    """A placement whose seats are shared actors."""

    def seat_in(self, crowds: list[Any]) -> "Crowded":
        """Use these."""
        self._crowds = crowds
        return self

    def _new_seat(self) -> Any:
        return self._crowds[len(self._seats) % len(self._crowds)]


def main() -> None:
    """Print the outcome."""
    set_ray_environment()
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    actor = ray.remote(Crowd).options(num_cpus=0, max_concurrency=100_000, enable_task_events=False)
    crowds = [actor.remote() for _ in range(_CROWDS)]
    placement = Crowded(RayCluster(), Workers(2, 0, 1)).seat_in(crowds)
    placement.workers = _WORKERS
    pool = WorkerPool(placement, Job("none", SampleConfig(), [1], 8, 64), 1)
    while pool.capacity < 2 * _SLOTS * _WORKERS:
        pool.step()

    def busy() -> float:
        return sum(ray.get([crowd.busy.remote() for crowd in crowds]))

    with tempfile.TemporaryDirectory() as folder:
        _run(pool, busy, Path(folder))
    # 1,000 wires' worth of leave-taking measures nothing.
    os._exit(0)


class Course:
    """What is asked, and how busy the workers were until the last of it was."""

    def __init__(self, busy: Callable[[], float]) -> None:
        self._busy, self._before, self._started = busy, busy(), time.monotonic()
        self.share = 0.0
        self.early = 0
        """KiB at the peak, at a third of the responses."""

    def parts(self) -> Iterator[tuple[int, list[Request]]]:
        """As the stage asks them: each when there is room for it."""
        parts = -(-_RESPONSES // (_PROMPTS_A_PART * _SAMPLES))
        for index in range(parts):
            if index == parts // 3:
                self.early = _peak_kib()
            yield index, _part(index)
        self.share = (self._busy() - self._before) / (self.seconds * _SLOTS * _WORKERS)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._started


def _part(index: int) -> list[Request]:
    ids = [f"{index}-{number}" for number in range(_PROMPTS_A_PART)]
    return [Request(name, sample, sample, _PROMPT) for name in ids for sample in range(_SAMPLES)]


def _run(pool: WorkerPool, busy: Callable[[], float], out: Path) -> None:
    writer = Writer(load_tokenizer(str(FOLDER / "policy")), [], "benchmark")
    tally, progress = Tally(0), Progress(_RESPONSES, "samples")
    cpu, course = time.process_time(), Course(busy)
    fill(course.parts(), pool, Journals(out), out, writer, tally, progress)
    report(
        "ray_driver", course.share, 0.95, "busy share of the workers' places",
        workers=_WORKERS, responses=_RESPONSES, tokens=tally.tokens,
        seconds=round(course.seconds), cpu_seconds=round(time.process_time() - cpu),
        responses_per_second=round(_RESPONSES / course.seconds),
        load=round(os.getloadavg()[0], 1),
        peak_mib_at_a_third=course.early // 1024, peak_mib=_peak_kib() // 1024,
    )  # fmt: skip


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
