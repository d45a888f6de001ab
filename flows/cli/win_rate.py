"""What `onpolicy win-rate` does: figures from a file of judgements, as text or JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from evaluation.win_rates.alpaca_eval import AlpacaEval, alpaca_eval_win_rate
from evaluation.win_rates.arena_hard import ArenaHard, arena_hard_win_rate, read_games
from evaluation.win_rates.difficulty import DIFFICULTY_FILE, GAMED_FILE, located
from evaluation.win_rates.estimate import Estimate, Resampling
from evaluation.win_rates.instructions import alpaca_eval, instructions_of
from evaluation.win_rates.mt_bench import CATEGORIES, MtBench, mt_bench_scores, read_judgements
from evaluation.win_rates.style import read_styles

BENCHMARKS = ("alpaca_eval", "arena_hard", "mt_bench")


@dataclass(frozen=True)
class Files:
    """What figures are made of beside the judgements."""

    gamed: str | None = None
    """A file, or a dataset on the hub as `owner/name@revision`."""
    difficulty: str | None = None
    """A file, or a dataset on the hub as `owner/name@revision`."""
    instructions: Path | None = None
    answers: tuple[Path, Path] | None = None
    """The model's and the baseline's, for Arena-Hard's style control."""


def win_rate(
    judgements: Path, benchmark: str, files: Files, resampling: Resampling, as_json: bool
) -> str:
    """The figures of a file of judgements.

    Raises:
        UserError: there is no such benchmark, or a file cannot be used.
    """
    if benchmark not in BENCHMARKS:
        raise UserError(f"--benchmark {benchmark!r}: there is {', '.join(BENCHMARKS)}")
    figures = _figures(judgements, benchmark, files, resampling)
    if as_json:
        return json.dumps({"benchmark": benchmark, **asdict(figures)}, indent=1)
    return "\n".join(_lines(figures, f"{resampling.confidence:.0%} interval"))


def _figures(judgements: Path, benchmark: str, files: Files, resampling: Resampling) -> Any:
    if benchmark == "arena_hard":
        games, unjudged = read_games(judgements)
        styles = None
        if files.answers:
            styles = (read_styles(files.answers[0]), read_styles(files.answers[1]))
        return arena_hard_win_rate(games, resampling, unjudged, styles=styles)
    if benchmark == "mt_bench":
        return mt_bench_scores(read_judgements(judgements), CATEGORIES, resampling)
    instructions = instructions_of(files.instructions) if files.instructions else alpaca_eval()
    gamed = located(files.gamed, GAMED_FILE) if files.gamed else None
    difficulty = located(files.difficulty, DIFFICULTY_FILE) if files.difficulty else None
    return alpaca_eval_win_rate(judgements, instructions, resampling, gamed, difficulty)


def _lines(figures: AlpacaEval | ArenaHard | MtBench, sure: str) -> Iterator[str]:
    match figures:
        case AlpacaEval():
            yield from _alpaca_eval(figures, sure)
        case ArenaHard():
            yield f"{_of(figures)} prompts with a verdict of both games"
            yield _line("win rate", figures.win_rate, " %", sure)
            if figures.style_controlled:
                yield _line("at equal style", figures.style_controlled, " %", sure)
            yield _line("both orders agree", figures.position_agreement, " %", sure)
        case MtBench():
            yield f"{_of(figures)} answers with a score"
            turns = {f"turn {turn}": mean for turn, mean in figures.turns.items()}
            for name, mean in {"overall": figures.overall, **turns, **figures.categories}.items():
                yield _line(name, mean, "", sure)


def _alpaca_eval(figures: AlpacaEval, sure: str) -> Iterator[str]:
    judges = ", ".join(figures.annotators) or "nobody named"
    yield f"{figures.model} against {figures.baseline}: {_of(figures)} prompts, judged by {judges}"
    yield _line("win rate", figures.win_rate, " %", sure, figures.standard_error)
    if figures.lc_win_rate:
        note = ", too small: of the predictions alone"
        yield _line(
            "length-controlled", figures.lc_win_rate, " %", sure, figures.lc_standard_error, note
        )
        if not figures.regularised:
            yield "  fitted without the gamed baselines (--gamed), which the leaderboard's fit has"
    else:
        yield "  length-controlled  not known without --difficulty or --gamed"
    yield f"  average length     {figures.average_length} characters"
    for reason in figures.not_comparable:
        yield f"  not comparable with the leaderboard: {reason}"


def _of(figures: AlpacaEval | ArenaHard | MtBench) -> str:
    return f"{figures.n} of {figures.asked}" if figures.n < figures.asked else str(figures.n)


def _line(
    name: str, figure: Estimate, unit: str, sure: str, error: float | None = None, note: str = ""
) -> str:
    published = f"; standard error as published {error:.2f}{note}" if error is not None else ""
    interval = f"{sure} {figure.low:.2f} to {figure.high:.2f}"
    return f"  {name:<18} {figure.value:.2f}{unit} ({interval}{published})"
