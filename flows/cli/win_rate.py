"""What `onpolicy win-rate` does: figures from a file of judgements, as text or JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from contracts.errors import UserError
from evaluation.win_rates.alpaca_eval import AlpacaEval, alpaca_eval_win_rate
from evaluation.win_rates.estimate import Estimate, Resampling
from evaluation.win_rates.instructions import alpaca_eval, instructions_of

BENCHMARKS = ("alpaca_eval",)


@dataclass(frozen=True)
class Files:
    """What a benchmark's figures are made of beside the judgements."""

    gamed: Path | None = None
    difficulty: Path | None = None
    instructions: Path | None = None


def win_rate(
    annotations: Path, benchmark: str, files: Files, resampling: Resampling, as_json: bool
) -> str:
    """The figures of a file of judgements.

    Raises:
        UserError: there is no such benchmark, or a file cannot be used.
    """
    if benchmark not in BENCHMARKS:
        raise UserError(f"--benchmark {benchmark!r}: there is {', '.join(BENCHMARKS)}")
    asked = instructions_of(files.instructions) if files.instructions else alpaca_eval()
    found = alpaca_eval_win_rate(annotations, asked, resampling, files.gamed, files.difficulty)
    if as_json:
        return json.dumps({"benchmark": benchmark, **asdict(found)}, indent=1)
    return "\n".join(_lines(found, resampling))


def _lines(found: AlpacaEval, resampling: Resampling) -> Iterator[str]:
    few = f" of {found.asked}" if found.n < found.asked else ""
    judges = ", ".join(found.annotators) or "nobody named"
    yield f"{found.model} against {found.baseline}: {found.n}{few} prompts, judged by {judges}"
    sure = f"{resampling.confidence:.0%} interval"
    yield _line("win rate", found.win_rate, sure, found.standard_error, "")
    if found.lc_win_rate:
        note = ", too small: of the predictions alone"
        yield _line("length-controlled", found.lc_win_rate, sure, found.lc_standard_error, note)
        if not found.regularised:
            yield "  fitted without the gamed baselines (--gamed), which the leaderboard's fit has"
    else:
        yield "  length-controlled  not known without --difficulty or --gamed"
    yield f"  average length     {found.average_length} characters"
    for reason in found.not_comparable:
        yield f"  not comparable with the leaderboard: {reason}"


def _line(name: str, figure: Estimate, sure: str, error: float | None, note: str) -> str:
    published = f"; standard error as published {error:.2f}{note}" if error is not None else ""
    interval = f"{sure} {figure.low:.2f} to {figure.high:.2f}"
    return f"  {name:<18} {figure.value:.2f} % ({interval}{published})"
