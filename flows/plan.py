"""What a run does, in order: pure data, no Prefect, nothing started.

prompts -> responses -> scores -> pairs -> tokens -> policy -> evaluation   (a round)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from annotation import pairs, score
from annotation.config import Annotator, RewardModel
from contracts.config import Config
from contracts.manifest import Manifest, read_manifest
from contracts.step import Stage
from evaluation import compare
from flows.config import RunConfig
from generation import prompts, sample, select
from generation.config import SelectConfig
from training import format as tokens
from training import train

C = TypeVar("C", bound=Config)

PAIR = "pair chosen and rejected"
COMPARE = "compare with before"


@dataclass(frozen=True)
class PlannedStep:
    """One stage of one round, ready to be claimed once the steps before it are done."""

    round: int
    label: str
    stage: Stage
    config: Config
    inputs: dict[str, str]
    out: Path

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
    steps = [*_prepare(config)]
    for number in range(1, config.rounds + 1):
        steps += _round(config, number)
    return steps


def round_folder(config: RunConfig, number: int) -> Path:
    """Folder of a round; round 0 holds the starting policy's evaluation."""
    return config.folder / f"round-{number}"


def policy_of(config: RunConfig, number: int) -> str:
    """The policy that round `number` made; round 0's is the one the run starts from."""
    return str(round_folder(config, number) / "policy") if number else config.policy.reference


def _prepare(config: RunConfig) -> Iterator[PlannedStep]:
    inputs = {"source": config.prompts.reference}
    if config.evaluation.prompt_file:
        inputs["benchmark"] = str(config.evaluation.prompt_file)
    all_prompts = config.folder / "prompts"
    yield PlannedStep(0, "load prompts", prompts.STAGE, _seeded(config.prompts, config.seed),
                      inputs, all_prompts)
    held_out = SelectConfig(splits=["test", "benchmark"])
    yield PlannedStep(0, "hold out prompts", select.STAGE, held_out,
                      {"prompts": str(all_prompts)}, round_folder(config, 0) / "prompts")
    yield from _evaluate(config, 0)


def _round(config: RunConfig, number: int) -> Iterator[PlannedStep]:
    folder = round_folder(config, number)
    policy = policy_of(config, number - 1)
    at = {name: str(folder / name) for name in ("prompts", "responses", "scores", "pairs",
                                                 "tokens", "policy")}

    def step(label: str, stage: Stage, settings: Config, out: str, **inputs: str) -> PlannedStep:
        return PlannedStep(number, label, stage, settings, inputs, folder / out)

    seed = config.seed + number
    yield step("select prompts", select.STAGE, _slice(config, number), "prompts",
               prompts=str(config.folder / "prompts"))
    yield step("sample responses", sample.STAGE, _seeded(config.sampling, seed), "responses",
               prompts=at["prompts"], policy=policy)
    yield step("score responses", score.STAGE, config.annotation, "scores",
               prompts=at["prompts"], responses=at["responses"],
               **_models(config.annotation.annotators))
    yield step(PAIR, pairs.STAGE, _seeded(config.pairs, seed), "pairs",
               prompts=at["prompts"], responses=at["responses"], scores=at["scores"])
    yield step("format tokens", tokens.STAGE, config.format, "tokens",
               pairs=at["pairs"], responses=at["responses"], policy=policy)
    yield step("train policy", train.STAGE, _seeded(config.training, seed), "policy",
               tokens=at["tokens"], policy=policy)
    yield from _evaluate(config, number)
    yield _compare(config, number)


def _evaluate(config: RunConfig, number: int) -> Iterator[PlannedStep]:
    """Answer and score the held-out prompts with the policy that round `number` made."""
    folder = round_folder(config, number) / "evaluation"
    inputs = {"prompts": str(round_folder(config, 0) / "prompts")}
    answer = _seeded(config.evaluation.sampling, config.seed)
    yield PlannedStep(number, "answer held-out prompts", sample.STAGE, answer,
                      {**inputs, "policy": policy_of(config, number)}, folder / "responses")
    annotators = [*config.annotation.annotators, *config.evaluation.annotators]
    scoring = config.annotation.model_copy(update={"annotators": annotators})
    inputs |= {"responses": str(folder / "responses"), **_models(annotators)}
    yield PlannedStep(number, "score held-out answers", score.STAGE, scoring, inputs,
                      folder / "scores")


def _compare(config: RunConfig, number: int) -> PlannedStep:
    inputs = {"prompts": str(round_folder(config, 0) / "prompts")}
    for policy, made_by in (("start", 0), ("before", number - 1), ("after", number)):
        folder = round_folder(config, made_by) / "evaluation"
        inputs[f"{policy}_responses"] = str(folder / "responses")
        inputs[f"{policy}_scores"] = str(folder / "scores")
    settings = config.evaluation.comparison.model_copy(
        update={"generator": f"{config.name}-round-{number}"}
    )
    out = round_folder(config, number) / "evaluation" / "comparison"
    return PlannedStep(number, COMPARE, compare.STAGE, settings, inputs, out)


def _slice(config: RunConfig, number: int) -> SelectConfig:
    """Fresh prompts for each round: disjoint slices of one fixed order (recipe, section 5)."""
    size = config.prompts_per_round
    start = (number - 1) * size if size else 0
    return SelectConfig(splits=["train"], start=start, count=size)


def _models(annotators: list[Annotator]) -> dict[str, str]:
    """The reward models' references as inputs, so that their content enters the identity."""
    return {
        f"model:{annotator.name}": annotator.reference
        for annotator in annotators
        if isinstance(annotator, RewardModel)
    }


def _seeded(config: C, seed: int) -> C:
    return config.model_copy(update={"seed": seed})
