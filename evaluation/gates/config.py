"""The rules of a gate: what follows a round that is better, the same or worse."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.config.base import Config, Resources
from evaluation.verdicts.decide import Outcome

Action = Literal["promote", "stop", "last_good"]
Rule = Literal["promote", "stop", "last_good", "ask"]


class Asking(Resources):
    """How long a person is waited for; it decides nothing that a record does not hold."""

    hours: Annotated[float, Field(gt=0, le=8760)] = 72.0
    """Hours until `then` stands for the answer."""
    then: Action = "stop"
    """What follows if nobody answers in time."""


class GateConfig(Config):
    """What follows a round, by its verdict.

    `promote`: the next round begins from its policy. `last_good`: from the policy that this round
    began from. `stop`: there is no next round. `ask`: a person decides.
    """

    better: Rule = "promote"
    """Where the verdict is better."""
    same: Rule = "promote"
    """Where it is the same: an interval that holds 0 is no harm."""
    worse: Rule = "stop"
    """Where it is worse: no GPU hour is spent on a policy that got worse."""
    asking: Asking = Asking()
    """How a person is asked."""

    def rule(self, outcome: Outcome) -> Rule:
        """What follows such a verdict."""
        return {"better": self.better, "same": self.same, "worse": self.worse}[outcome]
