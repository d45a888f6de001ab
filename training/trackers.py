"""Following a training run in TensorBoard, W&B or trackio, where the config asks for it."""

import importlib.util
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from contracts.config.base import Resources
from contracts.errors import UserError
from contracts.tables.parts import write_atomic

Kind = Literal["tensorboard", "wandb", "trackio"]

# Hidden, so that what a tracker writes is no part of the policy.
TENSORBOARD = ".tensorboard"
_WANDB = ".wandb"
_IDENTITY = ".tracked.json"


class Tracker(Resources):
    """Where a run's metrics are shown beside its own table; no part of the result."""

    kind: Kind
    """`tensorboard` writes to `policy/.tensorboard`; `wandb` and `trackio` go where their own
    environment variables say (WANDB_API_KEY, WANDB_MODE=offline, TRACKIO_SPACE_ID)."""
    project: str = "onpolicy"
    """Project for `wandb` and `trackio`."""


def _named(trackers: Any) -> Any:
    """`[tensorboard]` means `[{kind: tensorboard}]`."""
    if not isinstance(trackers, list):
        return trackers
    return [{"kind": item} if isinstance(item, str) else item for item in trackers]


Trackers = Annotated[
    list[Tracker], BeforeValidator(_named, json_schema_input_type=list[Kind | Tracker])
]


def refuse_missing(trackers: list[Tracker]) -> None:
    """Refuse a tracker that could not start, before any work.

    Raises:
        UserError: it is not installed, or has no key and is not offline.
    """
    for tracker in trackers:
        if importlib.util.find_spec(tracker.kind) is None:
            raise UserError(
                f"training.trackers: {tracker.kind} is not installed; install it with: "
                f"pip install -e '.[{tracker.kind}]'"
            )
        if tracker.kind == "wandb" and not _may_start_wandb():
            raise UserError(
                "training.trackers: wandb needs its key in WANDB_API_KEY, or WANDB_MODE=offline"
            )


def _may_start_wandb() -> bool:
    offline = os.environ.get("WANDB_MODE", "") in ("offline", "disabled", "dryrun")
    return offline or bool(os.environ.get("WANDB_API_KEY"))


class Tracking:
    """The trackers of one training run; one process has it."""

    def __init__(
        self, trackers: list[Tracker], out: Path, config: dict[str, Any], before: list[str]
    ) -> None:
        """
        Args:
            config: plain values to show with the run.
            before: the metric lines of every step that an earlier process of this run took.
        """
        self._sent = len(before)
        self._trackers = {
            tracker.kind: _start(tracker, out, config, resumed=bool(before)) for tracker in trackers
        }
        # An earlier process may have died with points unwritten: its file is made anew.
        for line in before:
            row = json.loads(line)
            self._log_tensorboard(row.pop("step"), row)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """The metrics of a step, counted from 1; one that was sent before is not sent again."""
        if step <= self._sent:
            return
        self._log_tensorboard(step, metrics)
        for kind, tracker in self._trackers.items():
            if kind != "tensorboard":
                tracker.log(metrics, step=step)

    def finish(self) -> None:
        """Wait until everything is written."""
        for tracker in self._trackers.values():
            tracker.finish()

    def _log_tensorboard(self, step: int, metrics: dict[str, float]) -> None:
        if tracker := self._trackers.get("tensorboard"):
            tracker.log(metrics, step=step)


def _start(tracker: Tracker, out: Path, config: dict[str, Any], resumed: bool) -> Any:
    from accelerate import PartialState, tracking

    PartialState()  # its trackers log through it
    if tracker.kind == "tensorboard":
        shutil.rmtree(out / TENSORBOARD, ignore_errors=True)
        started = tracking.TensorBoardTracker(TENSORBOARD, str(out))
    else:
        identity = _identity(out, resumed)
        name = "-".join([*out.resolve().parts[-3:-1], identity[:6]])
        settings = {"name": name, "config": config, "resume": "allow"}
        if tracker.kind == "wandb":
            folder = Path(os.environ.get("WANDB_DIR", out / _WANDB))
            folder.mkdir(parents=True, exist_ok=True)
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            settings |= {"id": identity, "dir": str(folder)}
            started = tracking.WandBTracker(tracker.project, **settings)
        else:
            started = tracking.TrackioTracker(tracker.project, **settings)
    started.start()
    return started


def _identity(out: Path, resumed: bool) -> str:
    """The run's id at its tracker: a resumed run's own again, a new one for a run made anew."""
    path = out / _IDENTITY
    if not (resumed and path.exists()):
        write_atomic(path, json.dumps(uuid.uuid4().hex[:16]).encode())
    return str(json.loads(path.read_text()))
