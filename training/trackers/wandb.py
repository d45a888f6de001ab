"""Weights & Biases."""

import os
from pathlib import Path
from typing import Any, Literal

from contracts.errors import UserError
from training.trackers.base import HostedTracker, TrackedRun

# Hidden, so that what a tracker writes is no part of the policy.
_FOLDER = ".wandb"


class WandbTracker(HostedTracker):
    """W&B, by WANDB_API_KEY or with WANDB_MODE=offline."""

    kind: Literal["wandb"] = "wandb"

    def start(self, run: TrackedRun) -> Any:
        """The run's page in its project; a resumed training goes on with its own."""
        from accelerate import tracking

        identity = run.identity
        folder = Path(os.environ.get("WANDB_DIR", run.out / _FOLDER))
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        settings = self.settings(run, identity) | {"id": identity, "dir": str(folder)}
        return tracking.WandBTracker(self.project, **settings)

    def refuse_unready(self) -> None:
        """Refuse to start without a key: wandb would ask for it on a terminal nobody looks at."""
        super().refuse_unready()
        offline = os.environ.get("WANDB_MODE", "") in ("offline", "disabled", "dryrun")
        if not (offline or os.environ.get("WANDB_API_KEY")):
            raise UserError(
                "training.trackers: wandb needs its key in WANDB_API_KEY, or WANDB_MODE=offline"
            )
