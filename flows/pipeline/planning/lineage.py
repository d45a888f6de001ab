"""Which policy each round begins from, by what the gates have decided so far."""

from dataclasses import dataclass
from pathlib import Path

from contracts.steps.facts import read_facts
from evaluation.gate import GateFacts
from flows.pipeline.config import RunConfig


@dataclass(frozen=True)
class Lineage:
    """Rounds by the policies that stand before and after them; round 0's is the run's start."""

    standing: tuple[int, ...]
    """At place k, the round whose policy stands after round k, and samples round k+1."""
    good: tuple[int, ...]
    """At place k, the newest round up to k that was evaluated and not sent back by its gate."""
    stopped: int | None = None
    """The round after which a gate has ended the run."""
    undecided: int | None = None
    """The first round whose gate is still to decide; what follows is planned as if it promoted."""

    def before(self, number: int) -> int:
        """The round whose policy stands before round `number`."""
        return self.standing[number - 1]

    def compared(self, number: int) -> int:
        """The round whose policy an evaluated round's is compared with."""
        return self.good[number - 1]


def decision_of(folder: Path) -> GateFacts | None:
    """What the gate after the round in `folder` has decided; None where it has not."""
    return read_facts(folder / "gate", GateFacts)


def stopped_after(config: RunConfig) -> int | None:
    """The round after which a gate has ended the run."""
    return lineage(config).stopped


def promoted(config: RunConfig) -> Lineage:
    """As if every gate promoted its round, whatever it has decided."""
    rounds, every = range(config.rounds + 1), config.evaluation.every
    return Lineage(tuple(rounds), tuple(number - number % every for number in rounds))


def lineage(config: RunConfig) -> Lineage:
    """What the gates of a run have decided; all rounds are promoted where it has none.

    Raises:
        UserError: a decision's record is damaged.
    """
    standing, good, undecided = [0], [0], None
    for number in range(1, config.rounds + 1):
        is_evaluated = number % config.evaluation.every == 0
        is_gated = is_evaluated and config.gate_rules is not None and undecided is None
        decision = decision_of(config.folder / f"round-{number}") if is_gated else None
        if is_gated and decision is None:
            undecided = number
        action = decision.action if decision else "promote"
        if action == "stop":
            return Lineage(tuple(standing), tuple(good), stopped=number)
        good.append(number if is_evaluated and action == "promote" else good[-1])
        standing.append(number if action == "promote" else good[-1])
    return Lineage(tuple(standing), tuple(good), undecided=undecided)
