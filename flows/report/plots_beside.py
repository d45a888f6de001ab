"""A round's plots are drawn while its policy is evaluated: the engine that starts then leaves a
core idle. Whoever shows plots that are not drawn draws them, so nothing depends on this."""

from contextlib import suppress
from pathlib import Path

from flows.report.plots import is_drawn
from flows.report.run_data import RoundData
from runtime.child_process import Child
from runtime.module_process import start_module


class _Drawing:
    """The process that draws."""

    child: Child | None = None


def begin(folder: Path) -> None:
    """Begin to draw the plots of the round in `folder`, unless they are kept."""
    wait()
    if not is_drawn(RoundData(folder)):
        _Drawing.child = start_module("flows.report.plots", [str(folder)], {})


def wait() -> None:
    """Until what was begun is drawn, or has failed."""
    if child := _Drawing.child:
        assert child.stdout
        child.stdout.read()
        child.wait()
        _Drawing.child = None


def stop() -> None:
    """Draw no further: the run ends."""
    if _Drawing.child:
        with suppress(ProcessLookupError):
            _Drawing.child.kill()
        wait()
