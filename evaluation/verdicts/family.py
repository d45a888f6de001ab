"""The chance of a harm that is none, over all measures of one verdict: Holm's step-down test.

Nineteen measures may say `worse`. Were each believed at its own 95 %, an unchanged policy would be
worse in 11 of 100 verdicts of five independent ones, and a gate would stop it within a few rounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

CHANCE = 0.025
"""Of a harm that is none in any measure of a verdict: one side of one 95 % interval."""


@dataclass(frozen=True)
class Tested:
    """How far a figure lies beyond what is allowed, and how sure its interval is of that."""

    beyond: float
    """From what is allowed to the figure; above 0 is too much."""
    half: float
    """From the figure to the end of its interval that does least harm."""
    confidence: float
    """Coverage of the interval."""
    prompts: int | None
    """That it is over, for Student's t; None is many."""

    @property
    def chance(self) -> float:
        """How often a figure lies so far beyond although what it estimates does not.

        By the interval's own half and Student's t, for no other end of it is known.
        """
        if not self.half:
            return 0.0 if self.beyond > 0 else 1.0
        from scipy.special import stdtr, stdtrit

        freedom = self.prompts - 1 if self.prompts else np.inf
        errors = self.beyond / self.half * stdtrit(freedom, (1 + self.confidence) / 2)
        return float(stdtr(freedom, -errors))


def surely(tests: Mapping[str, Tested]) -> set[str]:
    """The measures that are beyond, with `CHANCE` of any that is not (Holm 1979).

    The least likely of k must be so with 1 / k of that chance, the next with 1 / (k - 1) of it: it
    holds however the measures depend on one another.
    """
    ordered = sorted(tests, key=lambda name: tests[name].chance)
    for place, name in enumerate(ordered):
        if tests[name].chance > CHANCE / (len(ordered) - place):
            return set(ordered[:place])
    return set(ordered)
