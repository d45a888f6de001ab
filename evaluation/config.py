"""How a round's policy is evaluated."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from annotation.config import Annotator
from contracts.config.base import Config, Resources
from evaluation.benchmarks import NamedBenchmark
from evaluation.benchmarks.base import Benchmark
from evaluation.verdicts.decide import VerdictConfig
from generation.config import SampleConfig


class CompareConfig(Config):
    """Held-out rewards of two policies, paired by prompt."""

    resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples of the held-out prompts."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Coverage of the interval."""
    seed: int = 0
    """Seed of the resampling."""


class RoundVerdictConfig(Config):
    """What one round's verdict rests on."""

    trained_by: str
    """The annotator that the pairs were made by."""
    second: str | None = None
    """One that the policy was not trained against; null where there is none."""
    limits: VerdictConfig = VerdictConfig()
    """What is too much."""


class OutputsLabel(Resources):
    """What the outputs are called: like a machine, it decides nothing of the answers."""

    generator: str = "policy"
    """Model name written beside each answer; a run's copy keeps that of the run that made it."""


class OutputsConfig(Config):
    """Benchmark answers as files for the benchmark's own tools."""

    label: OutputsLabel = OutputsLabel()
    """What they are called."""


class QuestionsConfig(Config):
    """The questions of one or more benchmarks."""

    benchmarks: list[NamedBenchmark] = Field(min_length=1)
    """What is asked."""

    @model_validator(mode="after")
    def _labels_differ(self) -> "QuestionsConfig":
        refuse_same_label(self.benchmarks)
        return self


class AnswersConfig(QuestionsConfig):
    """A policy's answers to them."""

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
    verdict: VerdictConfig = VerdictConfig()
    """What is too much for a round to be called the same, or better."""
    benchmarks: list[NamedBenchmark] = Field([])
    """What every round's policy answers beside, e.g. [alpaca_eval, arena_hard, mt_bench, gsm8k]:
    names, or objects with options. A name that is none lists those that there are."""

    @property
    def answering(self) -> SampleConfig:
        """How the benchmarks are answered: by this section's engine, each question as its
        benchmark says."""
        return answering(self.sampling, self.benchmarks)

    @model_validator(mode="after")
    def _labels_differ(self) -> "EvaluationConfig":
        refuse_same_label(self.benchmarks)
        return self


def answering(sampling: SampleConfig, benchmarks: Sequence[Benchmark]) -> SampleConfig:
    """The engine of `sampling`, with nothing of how it draws: every question says that itself."""
    plain = {
        name: SampleConfig.model_fields[name].default
        for name in ("temperature", "top_p", "top_k", "min_p", "seeds")
    }
    most = max((benchmark.most_tokens for benchmark in benchmarks), default=1)
    return sampling.model_copy(update={**plain, "stop": [], "n": 1, "max_tokens": most})


def refuse_same_label(benchmarks: Sequence[Benchmark]) -> None:
    """
    Raises:
        ValueError: two could not be told apart.
    """
    labels = [benchmark.label for benchmark in benchmarks]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(
                f"benchmarks: {label} is there twice; name it once, or give a prompt file a `title`"
            )
