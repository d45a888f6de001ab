"""How a round's policy is evaluated."""

from typing import Annotated

from pydantic import Field

from annotation.config import Annotator
from contracts.config.base import Config, Resources
from generation.config import SampleConfig


class CompareConfig(Config):
    """Held-out rewards of two policies, paired by prompt."""

    resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples of the held-out prompts."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Coverage of the interval."""
    seed: int = 0
    """Seed of the resampling."""


class OutputsLabel(Resources):
    """What the outputs are called: like a machine, it decides nothing of the answers."""

    generator: str = "policy"
    """Model name written beside each answer; a run's copy keeps that of the run that made it."""


class OutputsConfig(Config):
    """Benchmark answers as files for the benchmark's own tools."""

    label: OutputsLabel = OutputsLabel()
    """What they are called."""


class EvaluationConfig(Config):
    """The evaluation that closes each round."""

    sampling: SampleConfig
    """How the held-out and benchmark prompts are answered."""
    annotators: list[Annotator] = Field([])
    """Further annotators for evaluation only, e.g. the true reward where it is known."""
    comparison: CompareConfig = CompareConfig()
    """How old and new policy are compared."""
