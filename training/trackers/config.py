"""The trackers that a config may name; each file beside this one holds one."""

from typing import Annotated

from pydantic import Field

from contracts.config.variants import Variants
from training.trackers.base import TrackerVariant
from training.trackers.tensorboard import TensorBoardTracker
from training.trackers.trackio import TrackioTracker
from training.trackers.wandb import WandbTracker

Tracker = Annotated[
    TensorBoardTracker | WandbTracker | TrackioTracker,
    Field(discriminator="kind"),
    Variants("onpolicy.trackers", TrackerVariant),
]
