"""`onpolicy status`: how far a run is, by its folder alone.

It imports neither Prefect nor pyarrow nor the planner where the run has recorded its steps, so
that it answers at once; it writes nothing and waits for no lock.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from contracts.durations import in_words
from contracts.errors import UserError
from contracts.redo_hint import PUT_BACK, way_out
from contracts.steps.files import damage
from contracts.steps.lock import holder_of
from runtime.progress import Reading, summary, told_workers
from runtime.terminal import WIDE, folded

_PLAN, _PROGRESS = ".plan.json", ".progress.json"
# Progress is written every second, so a minute without any is worth saying.
_SILENT_SECONDS = 60.0


@dataclass(frozen=True)
class StageStatus:
    """One stage of a run."""

    path: str
    title: str
    state: str
    """done, damaged (done, and a file is gone or cut since), running, failed, stopped (begun, and
    its process is gone), waits (for an answer) or to do."""
    rows: int | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None
    """How long it took, or has gone on."""
    taken_from: str | None = None
    resumed: bool = False
    """Done by several processes; `seconds` are the last one's."""
    reading: Reading | None = None
    silent: float | None = None
    """Seconds since it was last heard of."""
    error: str | None = None


@dataclass(frozen=True)
class _Begun:
    """What the run has told of the stage that it began last."""

    path: str
    started: float
    """Seconds since 1970, as `at`, when it was last heard of."""
    at: float
    reading: Reading | None
    error: str | None


@dataclass(frozen=True)
class RunStatus:
    """A run, as its folder tells."""

    run: str
    holder: str | None
    """Who writes to it now: `process 12 on host`; null where nobody does."""
    stages: list[StageStatus]

    @property
    def done(self) -> int:
        """Number of finished stages."""
        return sum(stage.state == "done" for stage in self.stages)

    @property
    def damaged(self) -> list[str]:
        """A line for each finished stage whose files are not as it left them, with the way out."""
        return [f"{one.path}: {one.error}" for one in self.stages if one.state == "damaged"]

    @property
    def state(self) -> str:
        """done, running, damaged, failed, waits or stopped."""
        if self.holder:
            return "running"
        if self.damaged:
            return "damaged"
        if self.done == len(self.stages):
            return "done"
        states = {stage.state for stage in self.stages}
        return next((state for state in ("failed", "waits") if state in states), "stopped")


def status(run: Path) -> RunStatus:
    """How far the run in a folder is.

    Raises:
        UserError: there is no run.
    """
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run}: no run lies here (it has no config.yaml); name a run's folder, "
                        "e.g. runs/demo")  # fmt: skip
    steps = _read(run / _PLAN) or _planned(run)
    last = _last_begun(run)
    stages = [_stage(run, step["path"], step["title"], last) for step in steps]
    return RunStatus(str(run), holder_of(run), stages)


def as_json(told: RunStatus) -> str:
    """The status for programs: rates in units a second, times in seconds."""
    stages = []
    for stage in told.stages:
        plain = asdict(stage)
        if reading := stage.reading:
            plain["reading"] |= {"rate": reading.rate, "seconds_left": reading.seconds_left}
        stages.append(plain)
    fields = {"run": told.run, "state": told.state, "holder": told.holder,
             "done": told.done, "of": len(told.stages), "stages": stages}  # fmt: skip
    return json.dumps(fields, indent=1)


def as_text(told: RunStatus, width: int = WIDE) -> str:
    """The status for people: a line for the run, and one for each stage; more of at most `width`
    where that is too little."""
    who = f" ({told.holder})" if told.holder else ""
    head = f"{told.run}: {told.state}{who}, {told.done} of {len(told.stages)} stages done"
    lines = (line for stage in told.stages for line in _lines(stage, width))
    return "\n".join([*folded(head, width), *lines])


def _lines(stage: StageStatus, width: int) -> Iterator[str]:
    line = f"  {stage.state:<8} {stage.title:<37} {_detail(stage)}".rstrip()
    if len(line) <= width:
        yield line
    else:
        yield f"  {stage.state:<8} {stage.title}"
        yield from folded(f"           {_detail(stage)}", width, "")
    if stage.error:
        for line in stage.error.splitlines():
            yield from folded(f"           {line}", width, "")


def _detail(stage: StageStatus) -> str:
    if stage.state == "done":
        since = " since resumed" if stage.resumed else ""
        took = "taken over" if stage.taken_from else in_words(stage.seconds or 0) + since
        dropped = ", ".join(f"{count:,} {why}" for why, count in stage.dropped.items())
        return f"{stage.rows:,} rows, {took}" + (f", dropped: {dropped}" if dropped else "")
    if stage.state == "waits":
        return "for an answer: onpolicy decide"
    said = [summary(stage.reading)] if stage.reading else []
    if stage.state == "running" and stage.reading and stage.reading.workers:
        said.append(told_workers(stage.reading.workers))
    if stage.state == "running" and stage.seconds is not None:
        said.append(f"for {in_words(stage.seconds)}")
        if stage.silent is not None and stage.silent > _SILENT_SECONDS:
            said.append(f"last heard of {in_words(stage.silent)} ago")
    return ", ".join(said)


def _stage(run: Path, path: str, title: str, last: _Begun | None) -> StageStatus:
    folder = run / path
    if told := _damage(folder):
        error = f"{'; '.join(told)}; {PUT_BACK}, or {way_out(folder)}"
        return StageStatus(path, title, "damaged", error=error)
    if manifest := _read(folder / "_manifest.json"):
        return StageStatus(path, title, "done", manifest["rows"], manifest["dropped"],
                           manifest["seconds"], manifest["taken_from"],
                           manifest["resumed"])  # fmt: skip
    begun = last if last and last.path == path else None
    if holder_of(folder):
        return _begun(StageStatus(path, title, "running"), begun)
    if begun and begun.error:
        return _begun(StageStatus(path, title, "failed", error=begun.error), begun)
    if begun and holder_of(run):  # its process has not yet locked its folder
        return _begun(StageStatus(path, title, "running"), begun)
    if _asks(folder):
        return StageStatus(path, title, "waits")
    if begun or (folder / "_step.json").exists():
        return _begun(StageStatus(path, title, "stopped"), begun)
    return StageStatus(path, title, "to do")


def _damage(folder: Path) -> list[str]:
    """What of a finished stage is gone or cut, by names and sizes alone; empty where all is there,
    or the stage is not finished."""
    if not (folder / "_manifest.json").exists():
        return []
    match _read(folder / "_manifest.json"):
        case {"files": dict(files), "sizes": dict(sizes), "rows": int(), "dropped": dict(),
              "seconds": int() | float(), "taken_from": _, "resumed": _}:  # fmt: skip
            return damage(folder, files, sizes)
    return ["_manifest.json is damaged"]


def _begun(stage: StageStatus, begun: _Begun | None) -> StageStatus:
    if not begun:
        return stage
    end = time.time() if stage.state == "running" else begun.at
    silent = time.time() - begun.at
    return replace(stage, reading=begun.reading, seconds=end - begun.started, silent=silent)


def _last_begun(run: Path) -> _Begun | None:
    """What `.progress.json` tells; None where it is missing or damaged, or lacks a field."""
    match _read(run / _PROGRESS):
        case {"path": str(path), "started": float(started), "at": float(at),
              "reading": told, "error": str() | None as error}:  # fmt: skip
            reading = _reading(told)
            return _Begun(path, started, at, reading, error) if reading or told is None else None
    return None


def _reading(told: Any) -> Reading | None:
    match told:
        case {"done": int(done), "total": int(total), "unit": str(unit), "resumed": int(resumed),
              "seconds": float(seconds), "note": str(note), "workers": dict(workers),
              "shares": dict(shares)}:  # fmt: skip
            return Reading(done, total, unit, resumed, seconds, note, workers, shares)
    return None


def _asks(folder: Path) -> bool:
    """Whether the folder is that of a gate whose question is open (evaluation.gates.answers)."""
    round_folder = folder.parent
    asked, answered = round_folder / "question.json", round_folder / "answer.json"
    return folder.name == "gate" and asked.exists() and not answered.exists()


def _planned(run: Path) -> list[dict[str, str]]:
    """By its config: of a run that was copied without its hidden files."""
    from flows.pipeline.folder.recorded import recorded
    from flows.pipeline.planning.plan import plan

    config = recorded(run)
    assert config
    here = config.model_copy(update={"runs_dir": run.parent, "name": run.name})
    return [{"path": step.path, "title": step.title} for step in plan(here)]


def _read(path: Path) -> Any:
    """A JSON file, or None where it is missing or damaged; `onpolicy inspect` tells of damage."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
