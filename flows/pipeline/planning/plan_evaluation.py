"""The evaluation's steps: held-out answers, benchmarks, judges, comparison and verdict."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from contracts.config.base import as_file_name
from contracts.models.model import split_reference
from evaluation import answer_tokens, answers, compare, questions, verdict
from evaluation.config import (
    AnswersConfig,
    AnswerTokensConfig,
    OutputsLabel,
    QuestionsConfig,
    RoundVerdictConfig,
)
from flows.pipeline.planning.judging_steps import judging_steps
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.planning.planner import Planner
from training import reference
from training.config import ReferenceConfig

COMPARE = "compare with before"
VERDICT = "decide the verdict"


class EvaluationPlanner(Planner):
    """Plans the steps from a policy to its verdict."""

    def _judge_round(self, number: int) -> Iterator[PlannedStep]:
        """Evaluate a round's policy beside the last one before it that was."""
        yield from self._evaluate(number)
        if self._config.evaluation.drift_prompts:
            yield from self._drift(number)
        yield self._compare(number)
        yield self._verdict(number)

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
        questions, label = "round-0/questions", "answer benchmarks"
        named = {"benchmarks": config.evaluation.benchmarks}
        name, sampling = "benchmark_responses", config.evaluation.answering
        yield self._sample(root, questions, number, sampling, config.seed, label, name)
        called = OutputsLabel(generator=self._called(number))
        inputs = answers.AnswersInputs(
            questions=self._at(questions), responses=self._at(f"{root}/{name}")
        )
        settings = AnswersConfig(**named, label=called)
        path = f"{root}/answers"
        yield self._step(path, "score and write answers", answers.STAGE, settings, inputs)
        before = f"round-{self._decided.compared(number)}/evaluation" if number else None
        judging = judging_steps(
            config.evaluation, self._run, questions, root, before, self._pinned_dataset
        )
        for step in judging:
            yield replace(step, shared=config.resources.reuse)

    def _pinned_dataset(self, reference: str) -> str:
        return self._config.pinned(reference, "dataset")

    def _called(self, number: int) -> str:
        """Round 0's name is the policy's own: so are the published figures called, and its answers
        are the same file in every run, judged once."""
        if number:
            return f"{self._config.name}-round-{number}"
        path, _ = split_reference(self._config.policy.reference)
        return as_file_name(path.rstrip("/").rpartition("/")[2], "policy")

    def _drift(self, number: int) -> Iterator[PlannedStep]:
        """The trained policy's answers, scored by the start and by itself."""
        config, root = self._config, f"round-{number}/evaluation"
        inputs = answer_tokens.AnswerTokensInputs(
            prompts=self._at("round-0/prompts"),
            responses=self._at(f"{root}/responses"),
            policy=self._policy(0),
        )
        tokens = AnswerTokensConfig(count=config.evaluation.drift_prompts, **self._template)
        path, label = f"{root}/answer_tokens", "format held-out answers"
        yield self._step(path, label, answer_tokens.STAGE, tokens, inputs)
        training = config.training
        settings = ReferenceConfig(dtype=training.dtype, resources=training.resources)
        for name, policy in (("start", self._policy(0)), ("policy", self._policy(number))):
            read = reference.ReferenceInputs(tokens=self._at(path), policy=policy)
            label = f"score held-out answers with the {name}"
            yield self._step(f"{root}/by_{name}", label, reference.STAGE, settings, read)

    def _compare(self, number: int) -> PlannedStep:
        def scores(made_by: int) -> Path:
            return self._at(f"round-{made_by}/evaluation/scores")

        inputs = compare.CompareInputs(
            prompts=self._at("round-0/prompts"),
            start_scores=scores(0),
            before_scores=scores(self._decided.compared(number)),
            after_scores=scores(number),
        )
        path, settings = f"round-{number}/evaluation/comparison", self._config.evaluation.comparison
        return self._step(path, COMPARE, compare.STAGE, settings, inputs)

    def _verdict(self, number: int) -> PlannedStep:
        """All that the evaluation found, as one verdict."""
        config, root = self._config, f"round-{number}/evaluation"
        policies = {"start": 0, "before": self._decided.compared(number), "after": number}
        names = ["responses", "scores", *(["answers"] if config.evaluation.benchmarks else [])]
        begins_at_start = policies["before"] == 0
        read = {
            f"{policy}_{name}": self._at(f"round-{made_by}/evaluation/{name}")
            for policy, made_by in policies.items()
            for name in names
            if policy != "start" or name == "scores" or not begins_at_start
        }
        if config.evaluation.drift_prompts:
            read |= {name: self._at(f"{root}/{name}") for name in ("by_start", "by_policy")}
        judges = config.evaluation.asked_judges
        if judges:
            read["win_rates"] = self._at(f"{root}/win_rates")
        inputs = verdict.VerdictInputs(
            prompts=self._at("round-0/prompts"), comparison=self._at(f"{root}/comparison"), **read
        )
        settings = RoundVerdictConfig(
            trained_by=self._of(number).trained_by,
            second=config.second_annotator(number),
            judge=config.evaluation.verdict_judge,
            limits=config.evaluation.verdict,
        )
        return self._step(f"{root}/verdict", VERDICT, verdict.STAGE, settings, inputs)
