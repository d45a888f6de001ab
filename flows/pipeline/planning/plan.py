"""What a run does, in order: pure data, no Prefect, nothing started.

prompts -> responses -> scores -> pairs -> tokens [-> reference] -> policy -> evaluation (a round)
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from annotation import demonstrations, pairs
from contracts.steps.step import C
from evaluation import gate
from evaluation.gates.answers import ANSWER, read_answer, verdict_of
from evaluation.gates.config import GateConfig
from flows.pipeline.config import RunConfig
from flows.pipeline.planning.lineage import Lineage, lineage
from flows.pipeline.planning.plan_evaluation import EvaluationPlanner
from flows.pipeline.planning.planned_step import PlannedStep
from generation import prompts, select
from generation.config import SelectConfig
from training import format as tokens
from training import reference, replay, train
from training.config import ReferenceConfig, TrainConfig
from training.tokens.checks import TrainInputs

PAIR = "pair chosen and rejected"
GATE = "decide what follows"


def plan(config: RunConfig, decided: Lineage | None = None) -> list[PlannedStep]:
    """Every step of the run, each after those that it reads from.

    Args:
        decided: by its gates; what they have decided up to now, unless given.
    """
    decided = decided or lineage(config)
    planner = _Planner(config, decided)
    steps = [*planner.prepare()]
    for number in range(1, (decided.stopped or config.rounds) + 1):
        round_steps = planner.round(number)
        if decided.undecided and number > decided.undecided:
            round_steps = (replace(step, provisional=True) for step in round_steps)
        steps += round_steps
    return steps


class _Planner(EvaluationPlanner):
    """A run from its prompts to its last verdict."""

    def prepare(self) -> Iterator[PlannedStep]:
        """Load the prompts; answer the held-out ones with the policy that the run starts from."""
        config, seed = self._config.prompts, self._config.seed
        sources = prompts.inputs_of(config, lambda name: self._config.pinned(name, "dataset"))
        yield self._step("prompts", "load prompts", prompts.STAGE, _seeded(config, seed), sources)
        held_out = SelectConfig(splits=["test"], seed=seed)
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
        if number % self._config.evaluation.every == 0:
            yield from self._judge_round(number)
            if self._config.gate_rules:
                yield self._gate(number, self._config.gate_rules)

    def _select(self, path: str, label: str, settings: SelectConfig) -> PlannedStep:
        inputs = select.SelectInputs(prompts=self._at("prompts"))
        return self._step(path, label, select.STAGE, settings, inputs)

    def _annotate(self, number: int) -> Iterator[PlannedStep]:
        """From a round's prompts to its pairs."""
        config, seed, root = self._of(number), self._seed_of(number), f"round-{number}"
        standing = self._decided.before(number)
        yield self._sample(root, f"{root}/prompts", standing, config.sampling, seed)
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
        is_sampled = policy == self._policy(self._decided.before(number))
        off_policy = {} if is_sampled else {"off_policy": True}
        formatting = config.format.model_copy(update=self._template | off_policy)
        yield self._step(f"{root}/tokens", "format tokens", tokens.STAGE, formatting, to_format)
        if self._replays(number):
            yield self._replay(number)
        inputs = TrainInputs(tokens=self._trained_on(number), policy=policy)
        if config.training.loss.needs_reference:
            yield self._reference(number)
            inputs = inputs.model_copy(update={"reference": self._at(f"{root}/reference")})
        training = self._training(number)
        inputs = inputs.model_copy(update=self._carried(training, policy))
        yield self._step(f"{root}/policy", "train policy", train.STAGE, training, inputs)

    def _replays(self, number: int) -> bool:
        """Whether a round has pairs of earlier ones among its own; the first has none to take."""
        return number > 1 and self._config.replay is not None

    def _trained_on(self, number: int) -> Path:
        return self._at(f"round-{number}/{'replay' if self._replays(number) else 'tokens'}")

    def _replay(self, number: int) -> PlannedStep:
        """Mix earlier rounds' pairs in, those of rounds that a gate sent back too."""
        assert self._config.replay is not None
        settings = _seeded(self._config.replay, self._seed_of(number))
        first = max(1, number - settings.rounds) if settings.rounds else 1
        earlier = {str(one): self._at(f"round-{one}/tokens") for one in range(first, number)}
        inputs = replay.ReplayInputs(tokens=self._at(f"round-{number}/tokens"), earlier=earlier)
        path, label = f"round-{number}/replay", "mix with earlier pairs"
        return self._step(path, label, replay.STAGE, settings, inputs)

    def _carried(self, training: TrainConfig, policy: str) -> dict[str, str]:
        """What a training goes on from beside the policy; the run's start has no such state."""
        start = self._policy(0)
        if not training.carry_optimizer or policy == start:
            return {}
        return {"optimizer": policy, **({"base": start} if training.lora else {})}

    def _training(self, number: int) -> TrainConfig:
        """A round's own settings."""
        training = _seeded(self._of(number).training, self._seed_of(number))
        if training.schedule_rounds:
            training = training.model_copy(update={"schedule_round": number})
        return training

    def _reference(self, number: int) -> PlannedStep:
        """Score the round's pairs with the model that the loss compares with."""
        config, root = self._of(number), f"round-{number}"
        training, start = config.training, self._policy(0)
        compared_with = start if config.reference == "start" else self._trained_from(number)
        inputs = reference.ReferenceInputs(tokens=self._trained_on(number), policy=compared_with)
        settings = ReferenceConfig(dtype=training.dtype, resources=training.resources)
        label = "score with the reference"
        return self._step(f"{root}/reference", label, reference.STAGE, settings, inputs)

    def _gate(self, number: int, rules: GateConfig) -> PlannedStep:
        """What follows the round, by its verdict; an answer to it is one of its inputs."""
        root = self._at(f"round-{number}")
        answered = str(root / ANSWER) if read_answer(root) else None
        inputs = gate.GateInputs(verdict=verdict_of(root), answer=answered)
        return self._step(f"round-{number}/gate", GATE, gate.STAGE, rules, inputs)

    def _seed_of(self, number: int) -> int:
        """A seed for each round: with `round_prompts: same`, every round would else draw alike.

        A hash, so that no round of one seed draws what a round of the next seed does.
        """
        digest = hashlib.sha256(f"{self._config.seed}:round-{number}".encode()).digest()
        return int.from_bytes(digest[:4], "big")

    def _slice(self, number: int) -> SelectConfig:
        """The round's prompts; fresh ones are disjoint slices of one fixed order (recipe,
        section 5)."""
        size = self._config.prompts_per_round
        start = (number - 1) * (size or 0) if self._config.round_prompts == "fresh" else 0
        return SelectConfig(splits=["train"], start=start, count=size, seed=self._config.seed)


def _seeded(config: C, seed: int) -> C:
    return config.model_copy(update={"seed": seed})
