"""`python -m benchmarks.ray_driver`: one driver and 1,000 workers that only seem to sample.

The driver is the stage's own: stream, pool, messages, journals and parts on the disk, texts out of
token ids, on a real Ray cluster. Its workers sleep, eight answers at a time each, in a few actors
of many seats. An answer takes the time that its tokens would at 50 tokens/s; their number is drawn
from lengths that were measured: those of the 805 released AlpacaEval answers of
gemma-2-9b-it-SimPO, at 1.35 tokens a word. The figure is the share of the workers' places that
were busy while there was work on the queue. All 300,000 take six minutes; WORKERS and RESPONSES in
the environment ask for fewer.
"""

import itertools
import json
import os
import queue
import random
import resource
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from heapq import heappop, heappush
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
from runtime.cluster.frames import Call
from runtime.cluster.placement import RayPlacement
from runtime.cluster.seat import Life, Seat
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
_PARTS = -(-_RESPONSES // (_PROMPTS_A_PART * _SAMPLES))
_DRAWN = _PARTS * _PROMPTS_A_PART * _SAMPLES
_PROMPT = [7 + number % 90 for number in range(64)]
_ANSWER = [7 + number % 90 for number in range(max(_LENGTHS))]


class Clock(threading.Thread):
    """Says when the answers of many workers are there."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._news = threading.Condition()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, moment: float, do: Callable[[], None]) -> None:
        """Do something at a moment of the monotonic clock."""
        with self._news:
            heappush(self._due, (moment, next(self._order), do))
            self._news.notify()

    def run(self) -> None:
        """For ever."""
        while True:
            with self._news:
                while not self._due or (left := self._due[0][0] - time.monotonic()) > 0:
                    self._news.wait(left if self._due else None)
                do = heappop(self._due)[2]
            do()


class Sleeper(Life):
    """A worker that sleeps in place of sampling."""

    def __init__(self, life: int, clock: Clock) -> None:
        self.outbox, self.answered = queue.SimpleQueue(), 0.0
        self._clock, self._random = clock, random.Random(life)
        self._lock = threading.Lock()
        self._asked: deque[str] = deque()
        self._free = _SLOTS
        self._busy = 0.0
        self._since = time.monotonic()
        self.outbox.put(pack({"ready": 2 * _SLOTS}))

    def send(self, call: Call) -> None:
        """Requests begin as places get free."""
        batches = [one for data in call.messages for one in unpack(data).get("batches", ())]
        with self._lock:
            self._asked.extend(f"{batch[0][0]}-{batch[0][1]}" for batch in batches)
            self._begin(0)

    def busy(self) -> float:
        """Seconds that its places were busy, so far."""
        with self._lock:
            self._begin(0)
            return self._busy

    def _begin(self, ended: int) -> None:
        now = time.monotonic()
        self._busy += (_SLOTS - self._free) * (now - self._since)
        self._since = now
        self._free += ended
        while self._free and self._asked:
            self._free -= 1
            length = _length(self._random)
            finish = partial(self._finish, self._asked.popleft(), length)
            self._clock.at(now + length / _TOKENS_A_SECOND, finish)

    def _finish(self, response_id: str, length: int) -> None:
        with self._lock:
            self._begin(1)
        sample = {"response_id": response_id, "tokens": _ANSWER[:length], "finish_reason": "stop"}
        self.outbox.put(pack({"outcomes": [sample]}))


class Crowd(Seat):
    """Many seats in one actor."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = Clock()
        self._clock.start()

    def start(self, life: int, spec: str) -> str:
        """A worker is there at once."""
        self._lives[life] = Sleeper(life, self._clock)
        return json.dumps({"place": "a node", "node": "a node"})

    def busy(self) -> float:
        """Seconds that places were busy, so far."""
        return sum(life.busy() for life in self._lives.values() if isinstance(life, Sleeper))


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
    actor = ray.remote(Crowd).options(
        num_cpus=0, max_concurrency=_WORKERS // _CROWDS + 50, enable_task_events=False
    )
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
        for index in range(_PARTS):
            if index == _PARTS // 3:
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
    tally, progress = Tally(0), Progress(_DRAWN, "samples")
    cpu, course = time.process_time(), Course(busy)
    fill(course.parts(), pool, Journals(out), out, writer, tally, progress)
    report(
        "ray_driver", course.share, 0.95, "busy share of the workers' places",
        workers=_WORKERS, responses=_DRAWN, tokens=tally.tokens,
        seconds=round(course.seconds), cpu_seconds=round(time.process_time() - cpu),
        responses_per_second=round(_DRAWN / course.seconds),
        load=round(os.getloadavg()[0], 1),
        peak_mib_at_a_third=course.early // 1024, peak_mib=_peak_kib() // 1024,
    )  # fmt: skip


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
