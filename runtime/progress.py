"""Progress of a long stage: machine-read lines on standard output, one a second at most."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from weakref import WeakMethod

from runtime.stdout import print_line

_MARK = "::progress "
_SHOWN_NODES = 8


@dataclass(frozen=True)
class Reading:
    """How far a stage is; `resumed` units were there before this process began."""

    done: int
    total: int
    unit: str
    resumed: int
    seconds: float
    note: str = ""
    workers: Mapping[str, int] = field(default_factory=dict)
    """How many there are by now on each node of a cluster; empty where none is used."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of the work done since this process began, how much came from each node."""

    @property
    def rate(self) -> float:
        """Units a second since this process began."""
        return (self.done - self.resumed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Expected seconds to the end, None where nothing is known yet."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None


Spread = Callable[[], tuple[Mapping[str, int], Mapping[str, float]]]
"""A reading's `workers` and `shares`."""

_spreads: list[WeakMethod[Spread]] = []


def announce_spread(spread: Spread) -> None:
    """Have this process's readings tell what its pool says of a cluster's nodes, while there is
    that pool. `spread` is a method of it."""
    _spreads[:] = [WeakMethod(spread)]


def _spread() -> tuple[Mapping[str, int], Mapping[str, float]]:
    announced = _spreads[0]() if _spreads else None
    return announced() if announced else ({}, {})


class Progress:
    """Counts units done and prints readings that the flow shows as a bar."""

    def __init__(self, total: int, unit: str, resumed: int = 0, phase: str = "") -> None:
        """
        Args:
            unit: in the plural: `samples`.
            phase: what goes on until the first unit is done: `loading the model`.
        """
        self._started = time.monotonic()
        self._printed = 0.0
        self._phase = phase
        self._reading = Reading(resumed, total, unit, resumed, 0.0, phase)
        self._print()

    def advance(self, units: int = 1, note: str = "") -> None:
        """`units` more are done; `note` is shown behind the bar, e.g. the loss."""
        old = self._reading
        now = time.monotonic()
        done = old.done + units
        kept = "" if old.note == self._phase else old.note
        self._reading = Reading(
            done, old.total, old.unit, old.resumed, now - self._started, note or kept
        )
        if now - self._printed >= 1.0 or done >= old.total:
            self._print()

    def resume(self, units: int) -> None:
        """Count `units` more that were there before this process began."""
        old = self._reading
        self._reading = replace(old, done=old.done + units, resumed=old.resumed + units)

    def _print(self) -> None:
        self._printed = time.monotonic()
        workers, shares = _spread()
        reading = replace(self._reading, workers=workers, shares=shares)
        print_line(_MARK + json.dumps(asdict(reading)))


def print_phase(text: str) -> None:
    """Say what goes on before anything can be counted: `loading the model`."""
    print_line(_MARK + json.dumps(asdict(Reading(0, 0, "", 0, 0.0, text))))


def parse_progress(line: str) -> Reading | None:
    """The reading in a line of a stage's output, or None where the line is plain log."""
    if not line.startswith(_MARK):
        return None
    try:
        return Reading(**json.loads(line[len(_MARK) :]))
    except (ValueError, TypeError):  # torn: the stage was killed as it wrote the line
        return None


def summary(reading: Reading) -> str:
    """`640/1,000 samples, 212 samples/s, 0:00:02 left, loss 1.23`, with what is known."""
    if not reading.total:
        return reading.note
    unit = reading.unit.removesuffix("s") if reading.total == 1 else reading.unit
    parts = [f"{reading.done:,}/{reading.total:,} {unit}"]
    if reading.rate:
        parts.append(f"{plain_rate(reading.rate)} {reading.unit}/s")
    if reading.seconds_left is not None and reading.done < reading.total:
        parts.append(f"{timedelta(seconds=round(reading.seconds_left))} left")
    return ", ".join(parts + ([reading.note] if reading.note else []))


def told_workers(workers: Mapping[str, int]) -> str:
    """`3 workers (node 10.0.0.1: 2, node 10.0.0.2: 1)`; the first nodes of many."""
    if not workers:
        return ""
    count = sum(workers.values())
    named = [f"{node}: {number}" for node, number in list(workers.items())[:_SHOWN_NODES]]
    if more := len(workers) - len(named):
        named.append(f"{more} more nodes")
    return f"{count} worker{'' if count == 1 else 's'} ({', '.join(named)})"


def plain_rate(rate: float) -> str:
    """Three digits without an exponent: `5,019`, `212`, `0.8`."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
