"""TensorBoard."""

import shutil
from typing import Any, ClassVar, Literal

from training.trackers.base import TrackedRun, TrackerVariant

# Hidden, so that what a tracker writes is no part of the policy.
FOLDER = ".tensorboard"


class TensorBoardTracker(TrackerVariant):
    """Event files in `policy/.tensorboard`."""

    # An earlier process may have died with points unwritten, so its file is made anew.
    written_anew: ClassVar[bool] = True
    kind: Literal["tensorboard"] = "tensorboard"

    def start(self, run: TrackedRun) -> Any:
        """A writer into an empty folder."""
        from accelerate import tracking

        shutil.rmtree(run.out / FOLDER, ignore_errors=True)
        return tracking.TensorBoardTracker(FOLDER, str(run.out))
