"""Following one training in the trackers that its config asks for."""

import json
from collections.abc import Sequence
from typing import Any

from training.trackers.base import TrackedRun, TrackerVariant


class Tracking:
    """The trackers of one training run; one process has it."""

    def __init__(
        self, trackers: Sequence[TrackerVariant], run: TrackedRun, before: Sequence[str]
    ) -> None:
        """
        Args:
            before: the metric lines of every step that an earlier process of this run took.
        """
        self._sent = len(before)
        self._started = [_start(tracker, run) for tracker in trackers]
        anew = [
            started
            for tracker, started in zip(trackers, self._started, strict=True)
            if tracker.written_anew
        ]
        for line in before if anew else ():
            row = json.loads(line)
            step = row.pop("step")
            for started in anew:
                started.log(row, step=step)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """The metrics of a step, counted from 1; one that was sent before is not sent again."""
        if step <= self._sent:
            return
        for started in self._started:
            started.log(metrics, step=step)

    def finish(self) -> None:
        """Wait until everything is written."""
        for started in self._started:
            started.finish()


def _start(tracker: TrackerVariant, run: TrackedRun) -> Any:
    from accelerate import PartialState

    PartialState()  # its trackers log through it
    started = tracker.start(run)
    started.start()
    return started
