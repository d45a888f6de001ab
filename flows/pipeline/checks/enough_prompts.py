"""Whether there are prompts for every round that is left, before the first of them is sampled."""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.errors import UserError
from contracts.steps.facts import read_facts
from flows.pipeline.config import RunConfig
from flows.pipeline.planning.planned_step import PlannedStep
from generation import prompts
from generation.config import SelectConfig
from generation.readiness import most_to_train_on


@dataclass(frozen=True)
class ShortRound:
    """A round that gets fewer prompts than it asks for."""

    number: int
    asked: int
    gets: int
    there: int
    """Prompts of the run to train on; at most, before their table is made."""

    def __str__(self) -> str:
        return (
            f"round {self.number} gets {self.gets or 'none'} of the {self.asked} prompts that it "
            f"asks for, as there are {self.there} to train on; lower `prompts_per_round` or "
            "`rounds`, or give more prompts (`prompts.limit`, less those of `prompts.test_size`)"
        )


def shortest_round(config: RunConfig, left: Sequence[PlannedStep]) -> ShortRound | None:
    """The first round without prompts, else the one with too few; None where all have enough, or
    where that is not known before the prompts are read.

    Args:
        left: the steps that are to be made.
    """
    slices = {
        step.round: step.config
        for step in left
        if step.round and isinstance(step.config, SelectConfig)
    }
    ends = {number: one.start + one.count for number, one in slices.items() if one.count}
    is_made = not any(step.stage is prompts.STAGE for step in left)
    there = _to_train_on(config, is_made, max(ends.values())) if ends else None
    if there is None:
        return None
    rounds = [
        ShortRound(number, one.count, max(0, there - one.start), there)
        for number, one in slices.items()
        if one.count and there < ends[number]
    ]
    return min(rounds, key=lambda one: one.gets, default=None)


def refuse_empty_round(config: RunConfig, left: Sequence[PlannedStep]) -> ShortRound | None:
    """The round that gets too few prompts, if there is one.

    Raises:
        UserError: it gets none, so that the run would end there.
    """
    short = shortest_round(config, left)
    if short and not short.gets:
        raise UserError(str(short))
    return short


def _to_train_on(config: RunConfig, is_made: bool, enough: int) -> int | None:
    """By the table, where it is made; else at most, by the config and its files."""
    made = read_facts(config.folder / "prompts", prompts.PromptsFacts) if is_made else None
    return made.train if made else most_to_train_on(config.prompts, enough)
