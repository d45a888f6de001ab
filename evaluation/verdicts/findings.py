"""What one measure says, by itself."""

from dataclasses import dataclass
from typing import Literal

from contracts.config.base import Config
from evaluation.verdicts.evidence import Change, Interval
from evaluation.verdicts.family import Tested

Effect = Literal["better", "same", "worse", "missing"]


class Reason(Config):
    """What one measure says."""

    measure: str
    effect: Effect
    says: str


@dataclass(frozen=True)
class Finding:
    """What one measure says by itself, and what makes it sure where others may say so too."""

    reason: Reason
    test: Tested | None = None
    """That it is worse; None where it has no interval, or cannot be."""


def missing(measure: str, says: str = "not measured") -> Finding:
    """A measure that neither counts for nor against."""
    return Finding(Reason(measure=measure, effect="missing", says=says))


def too_few(figure: Interval | Change, fewest: int) -> str:
    """Why a figure decides nothing; empty where it has `fewest` prompts."""
    if figure.prompts is None or figure.prompts >= fewest:
        return ""
    return f"; over {figure.prompts} prompts, where {fewest} are the fewest that decide anything"
