"""The engines that run a policy, behind one small protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from contracts.models.adapters import refuse_other_adapter
from contracts.models.weights import refuse_other_weights
from generation.config import SampleConfig
from generation.engines.requests import Outcome, Request

Batch = Sequence[Request]


@dataclass(frozen=True)
class Job:
    """What an engine must know before it starts."""

    policy: str
    """Model folder, or hub id with an optional @revision."""
    config: SampleConfig
    stop_ids: list[int]
    """Tokens that end an answer."""
    longest: int
    """Tokens of prompt and answer together, at most, of all the requests to come."""
    context: int
    """Most tokens of prompt and answer together."""
    adapter: str | None = None
    """Folder of a LoRA adapter on top of `policy`."""
    adapter_rank: int = 0
    """Its rank."""


class Engine(Protocol):
    """Takes requests while it works on others, and gives samples back as they finish."""

    batch: int
    """Requests that are sampled as one: `add` always gets such a batch whole (the last one
    of a part may be shorter), so that a resumed run repeats the same arithmetic."""

    @property
    def capacity(self) -> int:
        """Requests to keep in flight."""

    def add(self, requests: Batch) -> None:
        """Take a batch of requests."""

    def step(self) -> Sequence[Outcome]:
        """Do some work; the outcomes that came of it, maybe none, a batch's all at once."""

    def close(self) -> None:
        """Let go of processes and memory."""


def start(job: Job) -> Engine:
    """The engine of the job's config in this process, its model loaded.

    Raises:
        UserError: the engine is not installed, or the model cannot be loaded.
    """
    refuse_other_weights(job.policy)
    if job.adapter:
        refuse_other_adapter(Path(job.adapter), job.policy)
    return job.config.engine.build(job)
