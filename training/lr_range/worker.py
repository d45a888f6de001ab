"""One process of a range test: `python -m training.lr_range.worker JOB.json`.

Engine, loading, batches and loss are training's own; only the schedule is another.
"""

import json
import os
import sys
from pathlib import Path

from contracts.errors import OnPolicyError
from contracts.tables.parts import write_atomic
from runtime.progress import Progress
from training.engines import make_engine
from training.launch.worker_exit import run_worker
from training.loop.schedule import RangeSchedule
from training.loop.worker import Job, make_ready, settle, size_of
from training.monitor.metrics import MetricsLog

DIVERGED = "diverged"
SIZE = "parameters.json"
# A loss this much above its start leaves nothing to look for at higher rates.
_DIVERGED_TIMES = 2.0
# The mean of about three steps, 1 / (1 - 0.7), against that of the first five: one bad batch is no
# divergence.
_START_STEPS = 5
_KEPT = 0.7


class Diverged(Exception):
    """The loss has left for good; every process sees it at the same step."""


class Watch:
    """Compares a running mean of the loss with the mean of its first steps."""

    def __init__(self) -> None:
        self._first: list[float] = []
        self._mean: float | None = None

    def see(self, loss: float) -> None:
        """A step's loss.

        Raises:
            Diverged: the running mean is twice what it was at the start.
        """
        if len(self._first) < _START_STEPS:
            self._first.append(loss)
        self._mean = loss if self._mean is None else _KEPT * self._mean + (1 - _KEPT) * loss
        start = sum(self._first) / len(self._first)
        if self._mean > start + (_DIVERGED_TIMES - 1) * abs(start):
            raise Diverged


def test_rates(path: Path) -> None:
    """Train through the job's rates, one line of metrics a step."""
    job, asked = Job.read(path), json.loads(path.read_text())["range"]
    first = os.environ.get("RANK", "0") == "0"
    settle(job, first)
    engine = make_engine(job.config)
    policy, trainer = make_ready(job, engine, job.out)
    trainer.schedule = RangeSchedule(job.config, len(trainer.pairs), **asked)
    follow = _Follow(job, size_of(policy), trainer.schedule.steps) if first else None
    watch = Watch()

    def after_step(steps: int, metrics: dict[str, float]) -> None:
        if follow:
            follow.step(steps, metrics)
        watch.see(metrics["loss"])

    try:
        trainer.run(0, after_step)
    except Diverged:
        pass
    except OnPolicyError:
        write_atomic(job.out / DIVERGED, b"")  # what the parent takes for the end of the test
        raise
    engine.leave()


class _Follow:
    """What rank 0 tells while the test goes on."""

    def __init__(self, job: Job, parameters: int, steps: int) -> None:
        write_atomic(job.out / SIZE, json.dumps(parameters).encode())
        self._log = MetricsLog(job.out, 0)
        self._progress = Progress(steps, "steps")

    def step(self, steps: int, metrics: dict[str, float]) -> None:
        """A step is done."""
        self._log.add(steps, metrics)
        note = f"loss {metrics['loss']:.4f} at {metrics['learning_rate']:.1e}"
        self._progress.advance(note=note)


if __name__ == "__main__":
    run_worker(lambda: test_rates(Path(sys.argv[1])))
