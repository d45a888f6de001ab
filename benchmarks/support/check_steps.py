"""Commands that are run one after another, each in a process of its own, and what came of them."""

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from contracts.tables.parts import write_atomic

# In RESULTS.md's row of a figure these stand elsewhere.
_SAID_ELSEWHERE = ("device", "gpu", "torch", "cuda")
# What `outcome.report` prints.
_OUTCOME = {"name", "figure", "reach", "holds", "unit", "detail"}
# pytest's last line where no test could run.
_ALL_SKIPPED = re.compile(r"\d+ skipped in .+")

State = Literal["passed", "missed", "failed", "not run"]


@dataclass(frozen=True)
class Step:
    """A command of this Python, and what it needs."""

    name: str
    command: tuple[str, ...]
    """What follows `python`."""
    minutes: float
    """It is ended after so long."""
    needs: tuple[str, ...] = ()
    """Packages without which it is not run."""


@dataclass(frozen=True)
class Result:
    """What came of a step."""

    name: str
    state: State
    """`missed`: it ran, and its figure is not what it is to reach."""
    says: str
    seconds: float = 0.0
    outcome: Mapping[str, Any] = field(default_factory=dict)
    """The JSON that a benchmark ends with."""


def run_step(step: Step, folder: Path, seconds_left: float) -> Result:
    """Run a step, its output going to a file in `folder`; whatever becomes of it is told."""
    missing = [name for name in step.needs if not importlib.util.find_spec(name)]
    if missing:
        return Result(step.name, "not run", f"needs {', '.join(missing)}, not installed here")
    if seconds_left < 60 * step.minutes:
        return Result(step.name, "not run", f"may take {step.minutes:g} minutes; too few are left")
    log, started = folder / f"{step.name}.log", time.monotonic()
    code = _run([sys.executable, *step.command], log, 60 * step.minutes)
    return _result(step, log, code, time.monotonic() - started)


def keep(result: Result, folder: Path, machine: str) -> None:
    """Write down what came of a step on a machine."""
    told = {"machine": machine, **asdict(result)}
    write_atomic(folder / f"{result.name}.json", json.dumps(told).encode())


def kept(folder: Path, machine: str) -> dict[str, Result]:
    """What came of steps on the same machine and day, by name, in the order of their ends."""
    paths = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    told = [one for path in paths if (one := _read(path)).pop("machine", None) == machine]
    return {one["name"]: Result(**one) for one in told}


def _read(path: Path) -> dict[str, Any]:
    """What was kept there; empty where the file is cut, e.g. by a disk that was full."""
    try:
        return json.loads(path.read_text())
    except ValueError:
        return {}


def _run(command: Sequence[str], log: Path, seconds: float) -> int | None:
    """The exit code; None where it took too long. What it started ends with it."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            # A step that fails may leave an engine behind, which would hold the GPU's memory.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _result(step: Step, log: Path, code: int | None, seconds: float) -> Result:
    state: State
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    last = lines[-1].strip("= ") if lines else "it printed nothing"
    # Libraries may speak as they end, or crash, or never end: the figure was taken before.
    outcome = next((found for line in reversed(lines) if (found := _outcome(line))), {})
    if code is None or code:
        ended = f"ended after {step.minutes:g} minutes" if code is None else f"exit code {code}"
        return Result(step.name, "failed", f"{ended}: {last}", seconds, outcome)
    if not outcome:
        state = "not run" if _ALL_SKIPPED.fullmatch(last) else "passed"
        return Result(step.name, state, last, seconds)
    state = "passed" if outcome["holds"] else "missed"
    return Result(step.name, state, f"{outcome['figure']} {outcome['unit']}", seconds, outcome)


def _outcome(line: str) -> dict[str, Any]:
    """A benchmark's outcome; empty where the line is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.keys() >= _OUTCOME else {}


def as_table(results: Sequence[Result]) -> str:
    """A line a step, as text."""
    width = max(len(result.name) for result in results)
    return "\n".join(
        f"{result.name:<{width}}  {result.state:<7}  {result.seconds:6.0f} s  {result.says[:300]}"
        for result in results
    )


def as_markdown(results: Sequence[Result], machine: str) -> str:
    """The block for RESULTS.md: the figures, the tests, and what is missing."""
    rows = [_row(result) for result in results if result.outcome]
    tested = [result for result in results if not result.outcome or result.state == "failed"]
    others = [f"- {result.name}: {result.state} ({result.says})" for result in tested]
    head = ["| benchmark | figure | reach | holds | detail |", "|---|---|---|---|---|"]
    return "\n".join([machine, "", *([*head, *rows, ""] if rows else []), *others])


def _row(result: Result) -> str:
    outcome = result.outcome
    detail = [f"{key} {_plain(value)}" for key, value in outcome["detail"].items()
              if key not in _SAID_ELSEWHERE]  # fmt: skip
    holds = "yes" if outcome["holds"] else "no"
    cells = (f"`{result.name}`", f"{outcome['figure']} {outcome['unit']}", outcome["reach"], holds,
             ", ".join(detail).replace("|", "/"))  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _plain(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return f"({'; '.join(f'{key} {_plain(one)}' for key, one in value.items())})"
