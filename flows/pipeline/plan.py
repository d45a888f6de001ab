"""What a run does, in order: pure data, no Prefect, nothing started.

prompts -> responses -> scores -> pairs -> tokens [-> reference] -> policy -> evaluation (a round)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from annotation import demonstrations, pairs, score
from annotation.config import Annotator
from contracts.config.base import Config
from contracts.steps.manifest import Manifest, read_manifest
from contracts.steps.step import Stage
from evaluation import compare, outputs
from evaluation.config import OutputsConfig, OutputsLabel
from flows.pipeline.config import RunConfig
from generation import prompts, sample, select
from generation.config import SampleConfig, SelectConfig
from generation.engines import adapter
from training import format as tokens
from training import reference, train
from training.config import ReferenceConfig

C = TypeVar("C", bound=Config)

PAIR = "pair chosen and rejected"
COMPARE = "compare with before"


@dataclass(frozen=True)
class PlannedStep:
    """One stage of one round, ready to be claimed once the steps before it are done."""

    run: Path
    path: str
    label: str
    stage: Stage
    config: Config
    inputs: dict[str, str]
    shared: bool = False
    """Whether another run's output of the same step will do."""

    @property
    def out(self) -> Path:
        """Its folder."""
        return self.run / self.path

    @property
    def round(self) -> int:
        """Its round; 0 where it comes before the first."""
        return int(self.path.split("/")[0].removeprefix("round-")) if "/" in self.path else 0

    @property
    def title(self) -> str:
        """Its name in the Prefect UI and on the terminal."""
        return f"round {self.round}: {self.label}" if self.round else self.label

    @property
    def done(self) -> Manifest | None:
        """Its manifest, if it is finished."""
        return read_manifest(self.out)


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

    def prepare(self) -> Iterator[PlannedStep]:
        """Load the prompts; answer the held-out ones with the policy that the run starts from."""
        config = self._config.prompts
        inputs = {
            name: self._config.pinned(reference, "dataset")
            for name, reference in config.inputs.items()
        }
        settings = _seeded(config, self._config.seed)
        yield self._step("prompts", "load prompts", prompts.STAGE, settings, inputs)
        held_out = SelectConfig(splits=["test", "benchmark"], seed=self._config.seed)
        inputs = {"prompts": self._at("prompts")}
        yield self._step("round-0/prompts", "hold out prompts", select.STAGE, held_out, inputs)
        yield from self._evaluate(0)

    def round(self, number: int) -> Iterator[PlannedStep]:
        """Sample, score, pair, train and evaluate."""
        config, seed, root = self._config, self._config.seed + number, f"round-{number}"
        policy = self._policy(number - 1)
        found = {name: self._at(f"{root}/{name}") for name in ("prompts", "responses", "scores")}

        def step(
            name: str, label: str, stage: Stage, settings: Config, inputs: dict[str, str]
        ) -> PlannedStep:
            return self._step(f"{root}/{name}", label, stage, settings, inputs)

        all_prompts = {"prompts": self._at("prompts")}
        yield step("prompts", "select prompts", select.STAGE, self._slice(number), all_prompts)
        asked = {"prompts": found["prompts"], **self._asked(number - 1)}
        sampling = self._sampling(config.sampling, seed)
        yield step("responses", "sample responses", sample.STAGE, sampling, asked)
        answered = {"prompts": found["prompts"], "responses": found["responses"]}
        scored = answered | self._models(config.annotation.annotators)
        yield step("scores", "score responses", score.STAGE, config.annotation, scored)
        yield step("pairs", PAIR, pairs.STAGE, _seeded(config.pairs, seed), found)
        if wanted := config.demonstrations:
            yield step(
                "demonstrations", "keep the best responses", demonstrations.STAGE, wanted, found
            )
        paired = {
            "pairs": self._at(f"{root}/pairs"),
            "responses": found["responses"],
            "policy": policy,
        }
        formatting = config.format.model_copy(update=self._template)
        yield step("tokens", "format tokens", tokens.STAGE, formatting, paired)
        formatted = {"tokens": self._at(f"{root}/tokens"), "policy": policy}
        if config.training.loss.needs_reference:
            formatted["reference"] = self._at(f"{root}/reference")
            yield self._reference(number)
        yield step("policy", "train policy", train.STAGE, _seeded(config.training, seed), formatted)
        yield from self._evaluate(number)
        if config.prompts.evaluation_file:
            yield self._outputs(number)
        yield self._compare(number)

    def _reference(self, number: int) -> PlannedStep:
        """Score the round's pairs with the model that the loss compares with."""
        training, root = self._config.training, f"round-{number}"
        fixed = self._config.reference == "start"
        inputs = {
            "tokens": self._at(f"{root}/tokens"),
            "policy": self._policy(0 if fixed else number - 1),
        }
        settings = ReferenceConfig(dtype=training.dtype, resources=training.resources)
        label = "score with the reference"
        return self._step(f"{root}/reference", label, reference.STAGE, settings, inputs)

    def _evaluate(self, number: int) -> Iterator[PlannedStep]:
        """Answer and score the held-out prompts with the policy that round `number` made."""
        config, root = self._config, f"round-{number}/evaluation"
        asked = {"prompts": self._at("round-0/prompts"), **self._asked(number)}
        answering = self._sampling(config.evaluation.sampling, config.seed)
        label = "answer held-out prompts"
        yield self._step(f"{root}/responses", label, sample.STAGE, answering, asked)
        annotators = config.held_out_annotators
        scoring = config.annotation.model_copy(update={"annotators": annotators})
        answered = {"prompts": asked["prompts"], "responses": self._at(f"{root}/responses")}
        inputs = answered | self._models(annotators)
        yield self._step(f"{root}/scores", "score held-out answers", score.STAGE, scoring, inputs)

    def _compare(self, number: int) -> PlannedStep:
        inputs = {"prompts": self._at("round-0/prompts")}
        for policy, made_by in (("start", 0), ("before", number - 1), ("after", number)):
            inputs[f"{policy}_scores"] = self._at(f"round-{made_by}/evaluation/scores")
        path, settings = f"round-{number}/evaluation/comparison", self._config.evaluation.comparison
        return self._step(path, COMPARE, compare.STAGE, settings, inputs)

    def _outputs(self, number: int) -> PlannedStep:
        """The benchmark answers as a file for the benchmark's own tools."""
        inputs = {
            "prompts": self._at("round-0/prompts"),
            "responses": self._at(f"round-{number}/evaluation/responses"),
        }
        label = OutputsLabel(generator=f"{self._config.name}-round-{number}")
        settings = OutputsConfig(label=label)
        path = f"round-{number}/evaluation/outputs"
        return self._step(path, "write benchmark outputs", outputs.STAGE, settings, inputs)

    def _step(
        self, path: str, label: str, stage: Stage, config: Config, inputs: dict[str, str]
    ) -> PlannedStep:
        # Whoever trains anew, e.g. with another ZeRO stage, wants to see it train; the outputs
        # of another run have its name in them.
        shared = self._config.resources.reuse and stage not in (train.STAGE, outputs.STAGE)
        return PlannedStep(self._run, path, label, stage, config, inputs, shared)

    def _at(self, path: str) -> str:
        return str(self._run / path)

    def _policy(self, number: int) -> str:
        """The policy that round `number` made; round 0's is the one the run starts from."""
        if number:
            return self._at(f"round-{number}/policy")
        return self._config.pinned(self._config.policy.reference)

    def _asked(self, number: int) -> dict[str, str]:
        """The policy of round `number` as inputs; the base too, where it is an adapter to a base
        on the hub."""
        policy = self._policy(number)
        base = "" if number else adapter.resolve(policy).model
        if base not in self._config.commits:
            return {"policy": policy}
        return {"policy": policy, "base": self._config.pinned(base)}

    def _models(self, annotators: list[Annotator]) -> dict[str, str]:
        """The reward models' references as inputs, so that their content enters the identity."""
        return {
            f"model:{annotator.name}": self._config.pinned(annotator.reference)
            for annotator in annotators
            if annotator.reference
        }

    @property
    def _template(self) -> dict[str, Any]:
        """How the policy's chat template is applied."""
        return {"bos": self._config.policy.bos, "date": self._config.policy.date}

    def _slice(self, number: int) -> SelectConfig:
        """Fresh prompts for each round: disjoint slices of one fixed order (recipe, section 5)."""
        size = self._config.prompts_per_round
        start = (number - 1) * size if size else 0
        return SelectConfig(splits=["train"], start=start, count=size, seed=self._config.seed)

    def _sampling(self, config: SampleConfig, seed: int) -> SampleConfig:
        return config.model_copy(update={"seed": seed, **self._template})


def _seeded(config: C, seed: int) -> C:
    return config.model_copy(update={"seed": seed})
