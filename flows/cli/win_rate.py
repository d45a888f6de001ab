"""What `onpolicy win-rate` does: figures from a file of judgements, as text or JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from evaluation.judging.referees.benchmarks import REFEREES
from evaluation.win_rates.estimate import Resampling
from evaluation.win_rates.figures import FiguresFiles


def win_rate(
    judgements: Path, benchmark: str, files: FiguresFiles, resampling: Resampling, as_json: bool
) -> str:
    """The figures of a file of judgements.

    Raises:
        UserError: there is no such benchmark, or a file cannot be used.
    """
    if benchmark not in REFEREES:
        raise UserError(f"--benchmark {benchmark!r}: there is {', '.join(REFEREES)}")
    figures: Any = REFEREES[benchmark].figures(judgements, files, resampling)
    if as_json:
        return json.dumps({"benchmark": benchmark, **asdict(figures)}, indent=1)
    return "\n".join(figures.lines(f"{resampling.confidence:.0%} interval"))
