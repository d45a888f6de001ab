"""What `onpolicy win-rate` does: figures from files of judgements, as text or JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from evaluation.judging.referees.benchmarks import REFEREES
from evaluation.win_rates.estimate import Resampling
from evaluation.win_rates.figures import FiguresFiles


def win_rate(
    judgements: Sequence[Path],
    benchmark: str,
    files: FiguresFiles,
    resampling: Resampling,
    as_json: bool,
) -> str:
    """The figures of each file of judgements; as JSON an object, of several files a list of them.

    Raises:
        UserError: there is no such benchmark, or a file cannot be used.
    """
    if benchmark not in REFEREES:
        raise UserError(f"--benchmark {benchmark!r}: there is {', '.join(REFEREES)}")
    if files.answers and len(judgements) > 1:
        raise UserError("--answers are one model's: give one file of judgements with them")
    referee = REFEREES[benchmark]
    figures: list[Any] = [referee.figures(path, files, resampling) for path in judgements]
    if as_json:
        told = [{"benchmark": benchmark, **asdict(one)} for one in figures]
        return json.dumps(told[0] if len(told) == 1 else told, indent=1)
    sure = f"{resampling.confidence:.0%} interval"
    return "\n".join(line for one in figures for line in one.lines(sure))
