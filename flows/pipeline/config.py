"""A run's whole config: one section a stage, and what ties them together."""

import datetime
import functools
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from annotation.config import (
    Annotator,
    DemonstrationsConfig,
    PairsConfig,
    ScoreConfig,
    scored_alone,
)
from annotation.scoring.annotator_names import naming_faults
from contracts.config.base import Config, FileName, Resources, check
from contracts.errors import UserError
from contracts.models.hub import Kind, full_name
from contracts.models.model import ModelConfig, split_reference
from evaluation.config import EvaluationConfig
from evaluation.gates.config import GateConfig
from flows.pipeline.planning.carry_over import carry_over_fault
from flows.pipeline.planning.held_out_annotator import second_annotator
from flows.pipeline.planning.round_rules import RoundRule, StartFrom, merged
from generation.config import PromptsConfig, SampleConfig
from runtime.cluster.config import Cluster
from runtime.store.address import StoreAddress, refuse_address
from training.config import FormatConfig, ReplayConfig, TrainConfig

MOST_ROUNDS = 100


class FlowResources(Resources):
    """How the flow runs its stages."""

    retries: Annotated[int, Field(ge=0)] = 0
    """Times that a failed stage is started again; it goes on where it stopped."""
    retry_delay: Annotated[float, Field(ge=0)] = 30.0
    """Seconds before a retry."""
    cluster: Cluster | None = None
    """Where workers and training run: null is this machine; `ray` the Ray cluster of which it is
    a node (`{kind: ray, address: ray://host:10001}` one of which it is none). Extra
    `onpolicy[ray]`."""
    reuse: bool = True
    """Take over what another run in `runs_dir` has made by the same settings from the same
    inputs, all but trained policies."""
    keep_policies: Annotated[int, Field(ge=1)] | None = None
    """Free the weights of all policies but the last so many rounds' after each round, as
    `onpolicy prune` does; none keeps them all."""
    store: StoreAddress | None = None
    """Where finished steps are pushed to and pulled from: `s3://bucket/prefix`, `gs://...`,
    `az://...` or `file:///shared/folder` (needs `onpolicy[store]`). Credentials come from the
    environment."""
    store_every: Annotated[float, Field(gt=0)] | None = 300.0
    """Seconds between pushes of what an unfinished step has made so far; none: finished steps
    alone are pushed."""
    store_checkpoints: bool = True
    """Push each of training's checkpoints as it is made; the disk holds one more meanwhile."""


class RunConfig(Config):
    """An on-policy run: rounds of sample, score, pair, train, evaluate."""

    name: Annotated[FileName, Field(max_length=100)]
    """Name of the run and of its folder."""
    runs_dir: Annotated[Path, BeforeValidator(refuse_address)] = Path("runs")
    """Folder that holds the runs."""
    rounds: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] = 1
    """Rounds in all. A finished run goes on when it is raised."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    """Seed that every stage's own seed is derived from (recipe: 42)."""
    date: datetime.date | None = None
    """The day that chat templates which read the clock are told; the day on which the run is
    claimed, unless given."""
    commits: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]] = Field({})
    """Models and datasets on the hub (`datasets/owner/name`), to the commit that is loaded: the
    one that each stands for when the run is claimed, unless given."""
    policy: ModelConfig
    """The model that the first round starts from."""
    prompts: PromptsConfig
    """Where the prompts come from."""
    prompts_per_round: Annotated[int, Field(ge=1)] | None = None
    """Prompts a round; none means that every round uses them all."""
    round_prompts: Literal["fresh", "same"] = "fresh"
    """Whether each round takes `prompts_per_round` that no other took, or all take the same."""
    sampling: SampleConfig
    """How the current policy is sampled."""
    annotation: ScoreConfig
    """The reward model."""
    pairs: PairsConfig = PairsConfig()
    """How chosen and rejected are picked."""
    demonstrations: DemonstrationsConfig | None = None
    """Also keep each prompt's best response as a conversation for SFT elsewhere; `{}` for its
    defaults. (`training.loss.kind: sft` trains on the pairs' chosen responses.)"""
    format: FormatConfig = FormatConfig()
    """How pairs become tokens."""
    replay: ReplayConfig | None = None
    """Mix pairs of earlier rounds into each round's own; `{}` for the defaults."""
    training: TrainConfig
    """How the policy is trained on them."""
    reference: Literal["start", "previous"] = "start"
    """What losses with a reference compare with: the policy that the run starts from, or the
    one that the round starts from, which is less stable (recipe, section 5)."""
    start_from: StartFrom = "previous"
    """What a round begins from. `previous`: the policy that the round before made. `last_good`: the
    newest that is not worse than the one that it began from; short for
    `gate: {worse: last_good}`. `first`: it samples the newest policy and trains the one that the
    run starts from, which is robust where rewards are over-optimised (arXiv 2505.18126), and
    off-policy, so that `weighting: wpo` is of use."""
    gate: GateConfig | None = None
    """What follows a round, by its verdict; `{}` for its defaults. None: each is promoted."""
    by_round: dict[Annotated[int, Field(ge=1, le=MOST_ROUNDS)], RoundRule] = Field({})
    """Keys that are other from a round on, e.g. `{3: {training: {learning_rate: 4.0e-7}}}`."""
    evaluation: EvaluationConfig
    """How the round is judged."""
    resources: FlowResources = FlowResources()
    """How the flow runs."""

    @model_validator(mode="after")
    def _one_seed(self) -> "RunConfig":
        for section, config in (("sampling", self.sampling), ("prompts", self.prompts),
                                ("evaluation.sampling", self.evaluation.sampling),
                                ("pairs", self.pairs), ("training", self.training),
                                ("replay", self.replay)):  # fmt: skip
            if config and config.seed != type(config).model_fields["seed"].default:
                raise ValueError(f"{section}.seed: set the run's own `seed`; the others follow it")
        return self

    @model_validator(mode="after")
    def _pairs_can_be_made(self) -> "RunConfig":
        if self.sampling.samples < 2:
            key = "seeds" if self.sampling.seeds else "n"
            raise ValueError(f"sampling.{key}: one response a prompt makes no pair; sample at "
                             "least 2, at a temperature above 0")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _one_date(self) -> "RunConfig":
        for section, config in (("sampling", self.sampling), ("format", self.format),
                                ("evaluation.sampling", self.evaluation.sampling)):  # fmt: skip
            if config.date:
                raise ValueError(f"{section}.date: set the run's own `date`, or `policy.date`")
        return self

    @model_validator(mode="after")
    def _something_held_out(self) -> "RunConfig":
        if not self.prompts.test_size:
            raise ValueError("prompts.test_size: hold out at least 1 prompt to judge a round by")
        return self

    @model_validator(mode="after")
    def _some_round_is_evaluated(self) -> "RunConfig":
        if self.evaluation.every > self.rounds:
            raise ValueError(f"evaluation.every: {self.evaluation.every} is more than `rounds` "
                             f"({self.rounds}): no policy would be evaluated")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _annotators_are_there(self) -> "RunConfig":
        deciding = {"pairs.annotator": self.pairs.annotator}
        if self.demonstrations:
            deciding["demonstrations.annotator"] = self.demonstrations.annotator
        scoring, held_out = self.annotation.annotators, self.evaluation.annotators
        if faults := naming_faults(scoring, held_out, deciding):
            raise ValueError("\n  ".join(faults))
        return self

    @model_validator(mode="after")
    def _something_tells_policies_apart(self) -> "RunConfig":
        if not self.held_out_annotators:
            names = ", ".join(annotator.name for annotator in self.annotation.annotators)
            raise ValueError(
                f"evaluation.annotators: {names} can only order one prompt's responses, which says "
                "nothing of one policy against another; add an annotator that scores a response "
                "alone: an armorm, a classifier, a function, or a judge with `compare: pointwise`"
            )
        return self

    @model_validator(mode="after")
    def _rounds_of_rules_are_there(self) -> "RunConfig":
        if late := [number for number in self.by_round if number > self.rounds]:
            raise ValueError(f"by_round.{late[0]}: there is no such round, `rounds` is "
                             f"{self.rounds}; raise it, or leave the rule out")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _rules_fit(self) -> "RunConfig":
        if not self.by_round:
            return self
        data = self.model_dump(mode="json") | {"by_round": {}}
        for number, rule in sorted(self.by_round.items()):
            data = merged(data, rule.keys)
            try:
                check(RunConfig, data, origin=f"by_round.{number}")
            except UserError as error:
                raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _rounds_go_on(self) -> "RunConfig":
        stretches = self.stretches if self.by_round else {"": self}
        trainings = {key: one.training for key, one in stretches.items()}
        if told := carry_over_fault(trainings, self.rounds):
            raise ValueError(told)
        for key, one in stretches.items():
            if one.training.carry_optimizer and one.start_from == "first":
                raise ValueError(f"{key}start_from: from `first` there is no optimizer's state to "
                                 "go on from; leave training.carry_optimizer out")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _gate_can_tell(self) -> "RunConfig":
        key = "gate" if self.gate else "start_from: last_good"
        needs_second = self.gate_rules and self.evaluation.verdict.require_second_reward
        if needs_second and self.second_annotator(self.rounds) is None:
            raise ValueError(
                f"{key}: no annotator but those that make the pairs scores held-out answers, so "
                "no verdict could tell a better policy from one that games them; add one to "
                "`evaluation.annotators`, or set `evaluation.verdict.require_second_reward: false`"
            )
        if self.gate and self.start_from == "last_good":
            raise ValueError("start_from: `last_good` is short for a gate of its own; leave it "
                             "out, and set `gate.worse: last_good`")  # fmt: skip
        return self

    @property
    def gate_rules(self) -> GateConfig | None:
        """The rules of the gate after each round, if there is one."""
        return GateConfig(worse="last_good") if self.start_from == "last_good" else self.gate

    def of_round(self, number: int) -> "RunConfig":
        """The config as round `number` has it: with the rules of that round and of those before."""
        rules = [rule.keys for first, rule in sorted(self.by_round.items()) if first <= number]
        # Onto the run's own keys one after another: which keys of a variant stay depends on the
        # kind that it has by then.
        keys = {name for rule in rules for name in rule}
        changed = functools.reduce(merged, rules, self.model_dump(mode="json", include=keys))
        for name, value in changed.items():
            if isinstance(section := getattr(self, name), Config):
                changed[name] = check(type(section), value, origin=f"by_round: {name}")
        return self.model_copy(update=changed)

    @property
    def stretches(self) -> dict[str, "RunConfig"]:
        """The config of each stretch of rounds that has the same keys, by what a message puts
        before them: nothing, or `by_round.3.`"""
        rules = {f"by_round.{number}.": self.of_round(number) for number in sorted(self.by_round)}
        return rules if 1 in self.by_round else {"": self, **rules}

    @property
    def held_out_annotators(self) -> list[Annotator]:
        """Who scores the held-out answers: all that score a response alone.

        What is too long is cut and scored: answers that reach the limit are a policy's worst,
        and none may be left out for it.
        """
        alone = scored_alone([*self.annotation.annotators, *self.evaluation.annotators])
        return [annotator.cutting() for annotator in alone]

    @property
    def trained_by(self) -> str:
        """The annotator whose scores make the pairs."""
        return self.pairs.annotator or self.annotation.annotators[0].name

    def second_annotator(self, number: int) -> str | None:
        """The first to score held-out answers that has had no part in the pairs by round `number`:
        of those for evaluation, then of the others."""
        makers = {1: self.pairs.annotator} | {
            first: rule.pairs["annotator"]
            for first, rule in self.by_round.items()
            if first <= number and "annotator" in rule.pairs
        }
        names = {name or self.annotation.annotators[0].name for name in makers.values()}
        return second_annotator(self.annotation.annotators, self.held_out_annotators, names)

    def pinned(self, reference: str, kind: Kind = "model") -> str:
        """The reference by its commit, where the run has fixed one."""
        commit = self.commits.get(full_name(kind, reference))
        return f"{split_reference(reference)[0]}@{commit}" if commit else reference

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.runs_dir / self.name
