"""What every benchmark's figures have in common: the files they need, and how they are printed."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluation.win_rates.estimate import Estimate


@dataclass(frozen=True)
class FiguresFiles:
    """What figures are made of beside the judgements."""

    gamed: str | None = None
    """A file, or a dataset on the hub as `owner/name@revision`."""
    difficulty: str | None = None
    """A file, or a dataset on the hub as `owner/name@revision`."""
    instructions: Path | None = None
    answers: tuple[Path, Path] | None = None
    """The model's and the baseline's, for Arena-Hard's style control."""


class Figures(ABC):
    """The figures of one file of judgements: a frozen dataclass."""

    @abstractmethod
    def lines(self, sure: str) -> Iterator[str]:
        """The figures as lines of text.

        Args:
            sure: the name of the intervals, e.g. `95% interval`.
        """


def counted(n: int, asked: int) -> str:
    """`12 of 805`, or `805` where all are there."""
    return f"{n} of {asked}" if n < asked else str(n)


def line(
    name: str, figure: Estimate, unit: str, sure: str, error: float | None = None, note: str = ""
) -> str:
    """One figure with its interval.

    Args:
        error: the standard error as published, if the benchmark publishes one; `note` says more
            of it.
    """
    published = f"; standard error as published {error:.2f}{note}" if error is not None else ""
    interval = f"{sure} {figure.low:.2f} to {figure.high:.2f}"
    return f"  {name:<18} {figure.value:.2f}{unit} ({interval}{published})"
