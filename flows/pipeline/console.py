"""What the terminal shows while a run goes on: a line a step, a bar with rate and time left."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from contracts.steps.manifest import Manifest
from runtime.progress import Reading, summary

# No markup: a path, a name or a stage's line with brackets in it is shown as it is.
console = Console(file=sys.stderr, highlight=False, soft_wrap=True, markup=False)


_WIDE = 100
_EVERY_SECONDS = 30.0


@contextmanager
def saying(what: str, after: float = 2.0) -> Iterator[None]:
    """Say what is under way once it has taken `after` seconds."""
    timer = threading.Timer(after, console.print, (f"{what} ...",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class StepBar:
    """The running step: its title, time since its start, phase or progress. On a pipe, a plain line
    every 30 seconds."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._started = time.monotonic()
        self._reading: Reading | None = None
        self._over = threading.Event()
        self._live = Live(
            get_renderable=self._shown, console=console, transient=True, refresh_per_second=4
        )

    def update(self, reading: Reading) -> None:
        """Show how far the step is."""
        self._reading = reading

    def line(self) -> str:
        """`round 1: sample responses  0:00:30  640/1,000 samples, 212 samples/s`."""
        return f"  {self._title}  {self._elapsed}  {self._info}"

    @property
    def _elapsed(self) -> str:
        return str(timedelta(seconds=int(time.monotonic() - self._started)))

    @property
    def _info(self) -> str:
        return summary(self._reading) if self._reading else "starting"

    def _shown(self) -> RenderableType:
        """One line with a bar where there is room; else two, cut at the terminal's edge."""
        reading = self._reading
        if console.width < _WIDE:
            lines = [f"  {self._title}  {self._elapsed}", f"    {self._info}"]
            return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
        total = reading.total if reading and reading.total else None
        bar = ProgressBar(total, reading.done if reading else 0, width=20)
        grid = Table.grid(padding=(0, 2))
        texts = [Text(text) for text in (f"  {self._title}", self._elapsed, self._info)]
        grid.add_row(texts[0], bar, *texts[1:])
        return grid

    def __enter__(self) -> "StepBar":
        if console.is_terminal:
            self._live.start()
        else:
            threading.Thread(target=self._say, name="progress", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if console.is_terminal:
            self._live.stop()

    def _say(self) -> None:
        while not self._over.wait(_EVERY_SECONDS):
            console.print(self.line())


@contextmanager
def step_line(title: str) -> Iterator[StepBar]:
    """Show a step until it ends."""
    with StepBar(title) as bar:
        yield bar


def print_done(title: str, manifest: Manifest, skipped: bool) -> None:
    """A finished step: rows, time, drops; on one line where there is room."""
    drops = ", ".join(f"{count:,} {reason}" for reason, count in manifest.dropped.items())
    took = "done before" if skipped else manifest.took
    rows = f"{manifest.rows:,} row{'' if manifest.rows == 1 else 's'}"
    is_wide = not console.is_terminal or console.width >= _WIDE
    line = Text(
        f"  {title:<37} {rows:>13}  {took:>12}" if is_wide else f"  {title}  {rows}, {took}"
    )
    if drops:
        line.append(f"{'  ' if is_wide else chr(10) + '    '}dropped: {drops}", "yellow")
    console.print(line)


def print_warning(text: str) -> None:
    """One line that is not to be overlooked."""
    console.print("  warning:", style="yellow", end=" ")
    console.print(text)
