"""What a run does, in order: pure data, no Prefect, nothing started.

prompts -> responses -> scores -> pairs -> tokens [-> reference] -> policy -> evaluation (a round)
"""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from annotation import demonstrations, pairs, score
from annotation.config import Annotator, ScoreConfig
from annotation.scoring.inputs import ScoreInputs
from contracts.models.model import split_reference
from contracts.steps.inputs import I
from contracts.steps.step import C, Stage
from evaluation import answers, compare, judge, judged, outputs, questions, verdict
from evaluation.config import (
    AnswersConfig,
    OutputsConfig,
    OutputsLabel,
    QuestionsConfig,
    RoundVerdictConfig,
)
from evaluation.judging.config import BenchmarkName, JudgingConfig, LLMJudge, RunJudge
from evaluation.judging.files import JudgingFile, PinnedFile
from flows.pipeline.config import RunConfig
from flows.pipeline.planned_step import PlannedStep
from generation import prompts, sample, select
from generation.config import SampleConfig, SelectConfig
from generation.engines import adapter
from training import format as tokens
from training import reference, train
from training.config import ReferenceConfig, TrainConfig
from training.tokens.checks import TrainInputs

PAIR = "pair chosen and rejected"
COMPARE = "compare with before"
WIN_RATES = "win rates by judge"
VERDICT = "decide the verdict"


def plan(config: RunConfig) -> list[PlannedStep]:
    """Every step of the run, each after those that it reads from."""
    planner = _Planner(config)
    steps = [*planner.prepare()]
    for number in range(1, config.rounds + 1):
        steps += planner.round(number)
    return steps


class _Planner:
    """Turns the run's one config into each stage's own."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._run = config.folder
        self._of = functools.cache(config.of_round)

    def prepare(self) -> Iterator[PlannedStep]:
        """Load the prompts; answer the held-out ones with the policy that the run starts from."""
        config, seed = self._config.prompts, self._config.seed
        sources = prompts.inputs_of(config, lambda name: self._config.pinned(name, "dataset"))
        yield self._step("prompts", "load prompts", prompts.STAGE, _seeded(config, seed), sources)
        held_out = SelectConfig(splits=["test", "benchmark"], seed=seed)
        yield self._select("round-0/prompts", "hold out prompts", held_out)
        if self._config.evaluation.benchmarks:
            yield self._questions()
        yield from self._evaluate(0)

    def round(self, number: int) -> Iterator[PlannedStep]:
        """Sample, score, pair, train and evaluate."""
        root = f"round-{number}"
        yield self._select(f"{root}/prompts", "select prompts", self._slice(number))
        yield from self._annotate(number)
        yield from self._train(number)
        yield from self._evaluate(number)
        if self._config.prompts.evaluation_file:
            yield self._outputs(number)
        yield self._compare(number)
        yield self._verdict(number)

    def _select(self, path: str, label: str, settings: SelectConfig) -> PlannedStep:
        inputs = select.SelectInputs(prompts=self._at("prompts"))
        return self._step(path, label, select.STAGE, settings, inputs)

    def _annotate(self, number: int) -> Iterator[PlannedStep]:
        """From a round's prompts to its pairs."""
        config, seed, root = self._of(number), self._config.seed + number, f"round-{number}"
        yield self._sample(root, f"{root}/prompts", number - 1, config.sampling, seed)
        yield self._score(root, f"{root}/prompts", config.annotation)
        names = ("prompts", "responses", "scores")
        read = {name: self._at(f"{root}/{name}") for name in names}
        settings = _seeded(config.pairs, seed)
        yield self._step(f"{root}/pairs", PAIR, pairs.STAGE, settings, pairs.PairsInputs(**read))
        if best := config.demonstrations:
            inputs = demonstrations.DemonstrationsInputs(**read)
            path, label = f"{root}/demonstrations", "keep the best responses"
            yield self._step(path, label, demonstrations.STAGE, best, inputs)

    def _train(self, number: int) -> Iterator[PlannedStep]:
        """From a round's pairs to its policy."""
        config, root, policy = self._of(number), f"round-{number}", self._trained_from(number)
        written, sampled = self._at(f"{root}/pairs"), self._at(f"{root}/responses")
        to_format = tokens.FormatInputs(pairs=written, responses=sampled, policy=policy)
        off_policy = {} if policy == self._policy(number - 1) else {"off_policy": True}
        formatting = config.format.model_copy(update=self._template | off_policy)
        yield self._step(f"{root}/tokens", "format tokens", tokens.STAGE, formatting, to_format)
        inputs = TrainInputs(tokens=self._at(f"{root}/tokens"), policy=policy)
        if config.training.loss.needs_reference:
            yield self._reference(number)
            inputs = inputs.model_copy(update={"reference": self._at(f"{root}/reference")})
        training = self._training(number)
        inputs = inputs.model_copy(update=self._carried(training, policy))
        yield self._step(f"{root}/policy", "train policy", train.STAGE, training, inputs)

    def _carried(self, training: TrainConfig, policy: str) -> dict[str, str]:
        """What a training goes on from beside the policy; the run's start has no such state."""
        start = self._policy(0)
        if not training.carry_optimizer or policy == start:
            return {}
        return {"optimizer": policy, **({"base": start} if training.lora else {})}

    def _training(self, number: int) -> TrainConfig:
        """A round's own settings."""
        training = _seeded(self._of(number).training, self._config.seed + number)
        if training.schedule_rounds:
            training = training.model_copy(update={"schedule_round": number})
        return training

    def _reference(self, number: int) -> PlannedStep:
        """Score the round's pairs with the model that the loss compares with."""
        config, root = self._of(number), f"round-{number}"
        training, start = config.training, self._policy(0)
        compared_with = start if config.reference == "start" else self._trained_from(number)
        inputs = reference.ReferenceInputs(tokens=self._at(f"{root}/tokens"), policy=compared_with)
        settings = ReferenceConfig(dtype=training.dtype, resources=training.resources)
        label = "score with the reference"
        return self._step(f"{root}/reference", label, reference.STAGE, settings, inputs)

    def _evaluate(self, number: int) -> Iterator[PlannedStep]:
        """Answer and score the held-out prompts with the policy that round `number` made."""
        config, root = self._config, f"round-{number}/evaluation"
        held_out, sampling = "round-0/prompts", config.evaluation.sampling
        yield self._sample(root, held_out, number, sampling, config.seed, "answer held-out prompts")
        update = {"annotators": config.held_out_annotators}
        scoring = config.annotation.model_copy(update=update)
        yield self._score(root, held_out, scoring, "score held-out answers")
        if config.evaluation.benchmarks:
            yield from self._benchmarks(number)

    def _questions(self) -> PlannedStep:
        """What every round's policy is asked."""
        config = QuestionsConfig(benchmarks=self._config.evaluation.benchmarks)
        sources = [self._config.pinned(one.source, "dataset") for one in config.benchmarks]
        inputs = questions.QuestionsInputs(sources=sources)
        label = "read benchmark questions"
        return self._step("round-0/questions", label, questions.STAGE, config, inputs)

    def _benchmarks(self, number: int) -> Iterator[PlannedStep]:
        """Answer the benchmarks with round `number`'s policy, all in one start of the engine."""
        config, root = self._config, f"round-{number}/evaluation"
        asked, label = "round-0/questions", "answer benchmarks"
        named = {"benchmarks": config.evaluation.benchmarks}
        name, sampling = "benchmark_responses", config.evaluation.answering
        yield self._sample(root, asked, number, sampling, config.seed, label, name)
        called = OutputsLabel(generator=self._called(number))
        inputs = answers.AnswersInputs(
            questions=self._at(asked), responses=self._at(f"{root}/{name}")
        )
        settings = AnswersConfig(**named, label=called)
        path = f"{root}/answers"
        yield self._step(path, "score and write answers", answers.STAGE, settings, inputs)
        judges = config.evaluation.asked_judges
        for one in judges:
            for benchmark in config.evaluation.judged_by(one):
                yield self._judge(number, one, benchmark)
        if judges:
            yield self._win_rates(number)

    def _called(self, number: int) -> str:
        """Round 0's name is the policy's own: so are the published figures called, and its answers
        are the same file in every run, judged once."""
        if number:
            return f"{self._config.name}-round-{number}"
        return split_reference(self._config.policy.reference)[0].rstrip("/").rpartition("/")[2]

    def _judge(self, number: int, one: RunJudge, benchmark: BenchmarkName) -> PlannedStep:
        """One judge over one benchmark's answers by round `number`'s policy."""
        files = self._config.evaluation.judged_with.to_judge(benchmark)
        inputs = judge.JudgingInputs(
            answers=str(self._at(f"round-{number}/evaluation/answers")),
            asked=self._at("round-0/questions"),
            **{role: self._file(file) for role, file in files.items()},
        )
        keys = LLMJudge.model_fields
        settings = JudgingConfig(
            benchmark=benchmark,
            judge=LLMJudge(**{key: getattr(one, key) for key in keys}),
            files=_pins(files),
        )
        path = f"round-{number}/evaluation/judgements/{one.name}/{benchmark}"
        return self._step(path, f"judge {benchmark} by {one.name}", judge.STAGE, settings, inputs)

    def _win_rates(self, number: int) -> PlannedStep:
        """What the judges say of round `number`'s policy, beside the round before."""
        config, root = self._config.evaluation, f"round-{number}/evaluation"
        names = [f"{one.name}/{of}" for one in config.asked_judges for of in config.judged_by(one)]
        files = {
            f"{benchmark}/{role}": file
            for benchmark in dict.fromkeys(name.partition("/")[2] for name in names)
            for role, file in config.judged_with.of(benchmark).items()
            if role != "references"
        }

        def judgements(made_by: int) -> dict[str, Path]:
            return {
                name: self._at(f"round-{made_by}/evaluation/judgements/{name}") for name in names
            }

        inputs = judged.WinRatesInputs(
            questions=self._at("round-0/questions"),
            answers=self._at(f"{root}/answers"),
            judgements=judgements(number),
            before=judgements(number - 1) if number else {},
            files={name: self._file(file) for name, file in files.items()},
        )
        settings = config.win_rates.model_copy(update={"files": _pins(files)})
        return self._step(f"{root}/win_rates", WIN_RATES, judged.STAGE, settings, inputs)

    def _file(self, file: JudgingFile) -> str:
        return self._config.pinned(file.path, "dataset")

    def _sample(
        self, root: str, asked: str, number: int, config: SampleConfig, seed: int,
        label: str = "sample responses", name: str = "responses",
    ) -> PlannedStep:  # fmt: skip
        """Answer the prompts in `asked` with round `number`'s policy."""
        inputs = sample.SampleInputs(
            prompts=self._at(asked), policy=self._policy(number), base=self._base(number)
        )
        settings = config.model_copy(update={"seed": seed, **self._template})
        return self._step(f"{root}/{name}", label, sample.STAGE, settings, inputs)

    def _score(
        self, root: str, asked: str, config: ScoreConfig, label: str = "score responses"
    ) -> PlannedStep:
        """Score the responses below `root` to the prompts in `asked`."""
        models = self._models(config.annotators)
        read = {"prompts": self._at(asked), "responses": self._at(f"{root}/responses")}
        inputs = ScoreInputs(**read, models=models)
        return self._step(f"{root}/scores", label, score.STAGE, config, inputs)

    def _compare(self, number: int) -> PlannedStep:
        def scores(made_by: int) -> Path:
            return self._at(f"round-{made_by}/evaluation/scores")

        inputs = compare.CompareInputs(
            prompts=self._at("round-0/prompts"),
            start_scores=scores(0),
            before_scores=scores(number - 1),
            after_scores=scores(number),
        )
        path, settings = f"round-{number}/evaluation/comparison", self._config.evaluation.comparison
        return self._step(path, COMPARE, compare.STAGE, settings, inputs)

    def _verdict(self, number: int) -> PlannedStep:
        """All that the evaluation found, as one verdict."""
        config, root = self._config, f"round-{number}/evaluation"
        policies = {"start": 0, "before": number - 1, "after": number}
        names = ["responses", "scores", *(["answers"] if config.evaluation.benchmarks else [])]
        read = {
            f"{policy}_{name}": self._at(f"round-{made_by}/evaluation/{name}")
            for policy, made_by in policies.items()
            for name in names
            if policy != "start" or name == "scores"
        }
        judges = config.evaluation.asked_judges
        if judges:
            read["win_rates"] = self._at(f"{root}/win_rates")
        inputs = verdict.VerdictInputs(
            prompts=self._at("round-0/prompts"), comparison=self._at(f"{root}/comparison"), **read
        )
        settings = RoundVerdictConfig(
            trained_by=config.trained_by,
            second=config.second_annotator,
            judge=config.evaluation.verdict_judge,
            limits=config.evaluation.verdict,
        )
        return self._step(f"{root}/verdict", VERDICT, verdict.STAGE, settings, inputs)

    def _outputs(self, number: int) -> PlannedStep:
        """The benchmark answers as a file for the benchmark's own tools."""
        inputs = outputs.OutputsInputs(
            prompts=self._at("round-0/prompts"),
            responses=self._at(f"round-{number}/evaluation/responses"),
        )
        label = OutputsLabel(generator=f"{self._config.name}-round-{number}")
        settings = OutputsConfig(label=label)
        path = f"round-{number}/evaluation/outputs"
        return self._step(path, "write benchmark outputs", outputs.STAGE, settings, inputs)

    def _step(self, path: str, label: str, stage: Stage[C, I], config: C, inputs: I) -> PlannedStep:
        # Whoever trains anew, e.g. with another ZeRO stage, wants to see it train; the outputs
        # of another run have its name in them.
        made_anew = (train.STAGE.name, outputs.STAGE.name, answers.STAGE.name)
        shared = self._config.resources.reuse and stage.name not in made_anew
        return PlannedStep(self._run, path, label, stage, config, inputs, shared)

    def _at(self, path: str) -> Path:
        return self._run / path

    def _policy(self, number: int) -> str:
        """The policy that round `number` made; round 0's is the one the run starts from."""
        if number:
            return str(self._at(f"round-{number}/policy"))
        return self._config.pinned(self._config.policy.reference)

    def _trained_from(self, number: int) -> str:
        """The policy that round `number` trains."""
        return self._policy(0 if self._of(number).start_from == "first" else number - 1)

    def _base(self, number: int) -> str | None:
        """What the policy of round `number` is an adapter to, where that lies on the hub."""
        base = "" if number else adapter.resolve(self._policy(0)).model
        return self._config.pinned(base) if base in self._config.commits else None

    def _models(self, annotators: list[Annotator]) -> dict[str, str]:
        """The reward models' references, so that their content enters the identity."""
        return {
            annotator.name: self._config.pinned(annotator.reference)
            for annotator in annotators
            if annotator.reference
        }

    @property
    def _template(self) -> dict[str, Any]:
        """How the policy's chat template is applied."""
        return {"bos": self._config.policy.bos, "date": self._config.policy.date}

    def _slice(self, number: int) -> SelectConfig:
        """The round's prompts; fresh ones are disjoint slices of one fixed order (recipe,
        section 5)."""
        size = self._config.prompts_per_round
        start = (number - 1) * (size or 0) if self._config.round_prompts == "fresh" else 0
        return SelectConfig(splits=["train"], start=start, count=size, seed=self._config.seed)


def _pins(files: Mapping[str, JudgingFile]) -> dict[str, PinnedFile]:
    return {name: file.pin for name, file in files.items() if file.pin != PinnedFile()}


def _seeded(config: C, seed: int) -> C:
    return config.model_copy(update={"seed": seed})
