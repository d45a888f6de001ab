"""What a run leaves in its folder of how far it is, for `onpolicy status` and the report:
`.plan.json` holds its steps in order, `.progress.json` the one that was begun last, `.start.json`
who started it last. None of them decides anything."""

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.pipeline.planning.planned_step import PlannedStep
from runtime.progress import Reading

PLAN, PROGRESS, START = ".plan.json", ".progress.json", ".start.json"
_COMMANDS = ("onpolicy", "app.py", "main.py")
_EVERY_SECONDS = 1.0


def record_plan(run: Path, steps: Sequence[PlannedStep]) -> None:
    """Write the run's steps, as the gates have decided up to now."""
    _write(run / PLAN, [{"path": step.path, "title": step.title} for step in steps])


def forget_step(run: Path) -> None:
    """Remove the record of the step begun last: a new start has not come to any yet."""
    (run / PROGRESS).unlink(missing_ok=True)


def record_start(run: Path) -> None:
    """Write which machine the run goes on at, and by which command."""
    program, *words = sys.argv
    command = shlex.join(["onpolicy", *words]) if Path(program).name in _COMMANDS else ""
    _write(run / START, {"host": platform.node(), "command": command, "at": time.time()})


class StepRecord:
    """The record of one step, from its start to its end or its error."""

    def __init__(self, step: PlannedStep) -> None:
        self._path = step.run / PROGRESS
        self._said: dict[str, Any] = {
            "path": step.path, "started": time.time(), "at": time.time(),
            "reading": None, "error": None,
        }  # fmt: skip
        _write(self._path, self._said)

    def update(self, reading: Reading) -> None:
        """Record how far the step is, once a second at most."""
        if time.time() - self._said["at"] >= _EVERY_SECONDS or reading.done >= reading.total:
            self._save(reading=asdict(reading))

    def fail(self, error: BaseException) -> None:
        """Record why the step ended too soon."""
        self._save(error=str(error) or type(error).__name__)

    def _save(self, **said: Any) -> None:
        self._said |= {"at": time.time(), **said}
        _write(self._path, self._said)


def _write(path: Path, data: Any) -> None:
    """Not synced, as it is worth nothing after a crash of the machine; a full disk ends a stage,
    never this."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        temporary.write_text(json.dumps(data))
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
