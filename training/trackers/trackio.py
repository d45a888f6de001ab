"""trackio."""

from typing import Any, Literal

from training.trackers.base import HostedTracker, TrackedRun


class TrackioTracker(HostedTracker):
    """A local database, or the Space that TRACKIO_SPACE_ID names."""

    kind: Literal["trackio"] = "trackio"

    def start(self, run: TrackedRun) -> Any:
        """The run's page in its project."""
        from accelerate import tracking

        return tracking.TrackioTracker(self.project, **self.settings(run, run.identity))
