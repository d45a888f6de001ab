"""What the terminal shows while a run goes on: a line a step, a bar with rate and time left."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from contracts.steps.manifest import Manifest
from runtime.progress import Reading, summary

# No markup: a path, a name or a stage's line with brackets in it is shown as it is.
console = Console(file=sys.stderr, highlight=False, soft_wrap=True, markup=False)


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
    """The bar of one running step; on a pipe, a plain line every few seconds instead."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._lock = threading.Lock()
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("  {task.description}", markup=False),
                BarColumn(30),
                TextColumn("{task.fields[info]}", markup=False),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task(title, total=None, info="starting")

    def update(self, reading: Reading) -> None:
        """Show how far the step is."""
        with self._lock:
            if self._bar is not None and self._task is not None:
                self._bar.update(
                    self._task, total=reading.total, completed=reading.done, info=summary(reading)
                )

    def __enter__(self) -> "StepBar":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()


@contextmanager
def step_line(title: str) -> Iterator[StepBar]:
    """Print a step's title and show its bar until it ends."""
    with StepBar(title) as bar:
        yield bar


def print_done(title: str, manifest: Manifest, skipped: bool) -> None:
    """One line for a finished step: rows, seconds, drops."""
    drops = ", ".join(f"{count:,} {reason}" for reason, count in manifest.dropped.items())
    took = "done before" if skipped else manifest.took
    line = Text(f"  {title:<32} {manifest.rows:>8,} rows  {took:>12}")
    if drops:
        line.append(f"  dropped: {drops}", "yellow")
    console.print(line)


def print_warning(text: str) -> None:
    """One line that is not to be overlooked."""
    console.print("  warning:", style="yellow", end=" ")
    console.print(text)
