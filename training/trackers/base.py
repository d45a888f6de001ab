"""What every tracker's config is, and how the tracker is started.

A config is read where no tracker is installed, so a tracker is imported where it is started.
"""

import importlib.util
import json
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from contracts.config.base import Resources
from contracts.errors import UserError
from contracts.tables.parts import write_atomic

_IDENTITY = ".tracked.json"


@dataclass(frozen=True)
class TrackedRun:
    """A training as a tracker sees it."""

    out: Path
    """The policy's folder."""
    config: dict[str, Any]
    """Plain values to show with the run."""
    resumed: bool
    """Whether an earlier process of this training took steps already."""

    @property
    def identity(self) -> str:
        """Its id at the tracker, 16 hex digits: the same after a resume, a new one for a training
        that is made anew."""
        path = self.out / _IDENTITY
        if not (self.resumed and path.exists()):
            write_atomic(path, json.dumps(uuid.uuid4().hex[:16]).encode())
        return str(json.loads(path.read_text()))


class TrackerVariant(Resources, ABC):
    """Where a run's metrics are shown beside its own table; no part of the result."""

    written_anew: ClassVar[bool] = False
    """Whether a resumed training writes its earlier points again."""
    kind: str

    @abstractmethod
    def start(self, run: TrackedRun) -> Any:
        """accelerate's tracker for this training, started by the caller."""

    def refuse_unready(self) -> None:
        """Refuse a tracker that could not start, before any work.

        Raises:
            UserError: it is not installed, or lacks what it needs to start.
        """
        if importlib.util.find_spec(self.kind) is None:
            raise UserError(
                f"training.trackers: {self.kind} is not installed; install it with: "
                f"pip install -e '.[{self.kind}]'"
            )


class HostedTracker(TrackerVariant):
    """A tracker that knows runs by project and id."""

    project: str = "onpolicy"
    """The project that the run is shown in."""

    def settings(self, run: TrackedRun, identity: str) -> dict[str, Any]:
        """Name (`RUN-round-N-ID`), config, and leave to go on with an earlier run of that id."""
        name = "-".join([*run.out.resolve().parts[-3:-1], identity[:6]])
        return {"name": name, "config": run.config, "resume": "allow"}
