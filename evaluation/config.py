"""How a round's policy is evaluated."""

import datetime
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from annotation.config import Annotator
from contracts.config.base import Config, FileName, Resources
from evaluation.benchmarks import NamedBenchmark
from evaluation.benchmarks.base import Benchmark
from evaluation.judging.config import BENCHMARKS, BenchmarkName, RunJudge
from evaluation.judging.files import JudgedWith, JudgingFile, PinnedFile
from evaluation.verdicts.limits import VerdictConfig
from generation.config import SampleConfig


class CompareConfig(Config):
    """Held-out rewards of two policies, paired by prompt."""

    resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples of the held-out prompts."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Coverage of the interval."""
    seed: int = 0
    """Seed of the resampling."""


class AnswerTokensConfig(Config):
    """Which held-out answers are scored for the drift from the start."""

    count: Annotated[int, Field(ge=1)]
    """Held-out prompts."""
    bos: Literal["template", "prepend"] = "template"
    """Who gives the BOS token, as in the model's config."""
    date: datetime.date | None = None
    """The day that a chat template is told which reads the clock, as in the model's config."""


class WinRatesConfig(Config):
    """Intervals of judged figures: a bootstrap over prompts."""

    resamples: Annotated[int, Field(ge=100)] = 1000
    """Resamples of the prompts; each is a fit where a figure is length-controlled (8 ms)."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Coverage of the interval."""
    seed: int = 0
    """Seed of the resampling."""
    files: dict[str, PinnedFile] = Field({})
    """Of its files that lie on the hub or must have a hash, by `benchmark/role`."""


class RoundVerdictConfig(Config):
    """What one round's verdict rests on."""

    trained_by: str
    """The annotator that the pairs were made by."""
    second: str | None = None
    """One that the policy was not trained against; null where there is none."""
    judge: str | None = None
    """The judge whose figures it reads; null where nobody judges."""
    limits: VerdictConfig = VerdictConfig()
    """What is too much."""


class OutputsLabel(Resources):
    """What the outputs are called: like a machine, it decides nothing of the answers."""

    generator: FileName = "policy"
    """Model name written beside each answer; a run's copy keeps that of the run that made it."""


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


class JudgedConfig(Config):
    """Benchmarks that policies answer, and who judges the answers."""

    benchmarks: list[NamedBenchmark] = Field([])
    """What every round's policy answers beside, e.g. [alpaca_eval, arena_hard, mt_bench, gsm8k]:
    names, or objects with options. A name that is none lists those that there are."""
    judges: list[RunJudge] = Field([])
    """Who judges every policy's answers, where their key is there."""
    judged_with: JudgedWith = JudgedWith()
    """The baselines, references and difficulties of the benchmarks that are judged."""
    win_rates: WinRatesConfig = WinRatesConfig()
    """The intervals of what judges say."""

    def judged_by(self, judge: RunJudge) -> list[BenchmarkName]:
        """What a judge is to judge, in the order of their names."""
        labels = {one.label for one in self.benchmarks}
        known = [name for name in BENCHMARKS if name in labels]
        return sorted(name for name in judge.benchmarks or known if name in known)

    @property
    def asked_judges(self) -> list[RunJudge]:
        """The judges that are enabled and have a benchmark to judge, sorted by name."""
        enabled = [one for one in self.judges if one.enabled and self.judged_by(one)]
        return sorted(enabled, key=lambda judge: judge.name)

    @property
    def files_of_judges(self) -> dict[str, JudgingFile]:
        """What those who judge need beside the answers, by key."""
        named = dict.fromkeys(of for judge in self.asked_judges for of in self.judged_by(judge))
        return {
            f"{benchmark}.{role}": file
            for benchmark in named
            for role, file in self.judged_with.of(benchmark).items()
        }

    @property
    def verdict_judge(self) -> str | None:
        """The first of `judges` that is asked: its figures count."""
        names = {judge.name for judge in self.asked_judges}
        return next((judge.name for judge in self.judges if judge.name in names), None)

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        refuse_same_label(self.benchmarks)
        return self

    @model_validator(mode="after")
    def _judges_differ_and_have_work(self) -> Self:
        names = [judge.name for judge in self.judges]
        for number, judge in enumerate(self.judges):
            if names.count(judge.name) > 1:
                raise ValueError(
                    f"judges: {judge.name} is there twice; give each a name of its own"
                )
            labels = [benchmark.label for benchmark in self.benchmarks]
            for name in judge.benchmarks or ():
                if name not in labels:
                    raise ValueError(
                        f"judges.{number}.benchmarks: {name} is not answered; add it to "
                        "`benchmarks`"
                    )
        return self


class EvaluationConfig(JudgedConfig):
    """The evaluation that closes each round, or every so many rounds."""

    every: Annotated[int, Field(ge=1)] = 1
    """Rounds from one evaluated policy to the next, which is compared with it; a small round costs
    less than its evaluation. With 8, rounds 8, 16, 24 are evaluated, and no other."""
    sampling: SampleConfig
    """How the held-out and benchmark prompts are answered."""
    annotators: list[Annotator] = Field([])
    """Further annotators for evaluation only, e.g. the true reward where it is known."""
    comparison: CompareConfig = CompareConfig()
    """How old and new policy are compared."""
    verdict: VerdictConfig = VerdictConfig()
    """What is too much for a round to be called the same, or better."""
    drift_prompts: Annotated[int, Field(ge=0)] = 0
    """Held-out prompts whose answers the start and the new policy score, for the verdict's drift; 0
    for none. It loads both models once a round: 200 answers say a mean log-ratio well enough."""

    @property
    def answering(self) -> SampleConfig:
        """How the benchmarks are answered: by this section's engine, each question as its
        benchmark says."""
        return answering(self.sampling, self.benchmarks)


def answering(sampling: SampleConfig, benchmarks: Sequence[Benchmark]) -> SampleConfig:
    """The engine of `sampling`, with nothing of how it draws: every question says that itself."""
    plain = {
        name: SampleConfig.model_fields[name].default
        for name in ("temperature", "top_p", "top_k", "min_p", "seeds")
    }
    most = max((benchmark.most_tokens for benchmark in benchmarks), default=1)
    return sampling.model_copy(update={**plain, "stop": [], "n": 1, "max_tokens": most})


def refuse_same_label(benchmarks: Sequence[Benchmark]) -> None:
    """Refuse two benchmarks of one label.

    Raises:
        ValueError: two could not be told apart.
    """
    labels = [benchmark.label for benchmark in benchmarks]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(
                f"benchmarks: {label} is there twice; name it once, or give a prompt file a `title`"
            )
