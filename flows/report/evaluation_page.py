"""A round's evaluation as markdown, for the Prefect UI."""

from evaluation.answers import BenchmarkAnswers
from evaluation.win_rates.estimate import Estimate
from flows.report.evaluation_data import EvaluationData
from flows.report.markdown import markdown_table
from flows.report.run_data import RoundData

_SHOWN_CHARACTERS = 300


def evaluation_lines(data: RoundData) -> list[str]:
    """All of the report's evaluation section, each table where it has rows."""
    evaluation = data.evaluation
    return [
        *markdown_table("Reasons", ("measure", "effect", "figure"), data.reasons),
        *_benchmarks(evaluation),
        *_judged(evaluation),
        *_published(evaluation),
        *_by_reward_model(evaluation),
    ]


def _benchmarks(evaluation: EvaluationData) -> list[str]:
    rows = [
        (name, f"{now.answered:,} of {now.turns:,}", *_characters(before, now),
         *_both(before, now, "accuracy", 100, 2))
        for name, (before, now) in evaluation.benchmarks.items()
    ]  # fmt: skip
    header = ("benchmark", "answered", "characters before", "now", "right before, %", "now")
    return markdown_table("Benchmarks", header, rows)


def _characters(*sides: BenchmarkAnswers | None) -> list[str]:
    """Whole ones, as AlpacaEval's leaderboard and the judges' table count them."""
    return [
        f"{int(one.characters):,}" if one and one.characters is not None else "" for one in sides
    ]


def _both(
    before: BenchmarkAnswers | None, now: BenchmarkAnswers, name: str, scale: int, decimals: int
) -> list[str]:
    """A figure before and now; empty where there is none."""
    values = (getattr(one, name, None) for one in (before, now))
    return ["" if one is None else f"{scale * one:,.{decimals}f}" for one in values]


def _judged(evaluation: EvaluationData) -> list[str]:
    rows = [
        (one.judge, one.benchmark, name, told(one.figures[name]), told(one.gains.get(name)),
         f"{one.n} of {one.asked}", f"{one.average_length:,}", one.left_out)
        for one in evaluation.judged for name in one.figures
    ]  # fmt: skip
    rows += [
        (one.judge, one.benchmark, name, f"not known: {reason}", "", "", "", one.left_out)
        for one in evaluation.judged
        for name, reason in one.missing.items()
    ]
    header = ("judge", "benchmark", "figure", "now", "gain", "prompts", "characters", "left out")
    parts = [
        (row["judge"], row["benchmark"], row["part"], told(Estimate(row["value"], row["low"],
         row["high"])), str(row["n"]))
        for row in evaluation.judged_parts
    ]  # fmt: skip
    named = ("judge", "benchmark", "part", "figure", "prompts")
    title = "By turn, category and length"
    return markdown_table("Win rates by judge", header, rows) + markdown_table(title, named, parts)


def _published(evaluation: EvaluationData) -> list[str]:
    rows = [
        (line.measured.model, line.measured.metric, told(line.measured.estimate),
         f"{line.published.value:.1f}" if line.published else "",
         "; ".join(line.not_comparable))
        for line in evaluation.published
    ]  # fmt: skip
    header = ("model", "metric", "here", "published", "not comparable")
    return markdown_table("Beside the published figures", header, rows)


def _by_reward_model(evaluation: EvaluationData) -> list[str]:
    """Win rate over the start in parts, its largest wins and losses, and the objectives."""
    parts = [(part, told(rate), str(n)) for part, n, rate in evaluation.reward_parts]
    title = f"Win rate over the start by {evaluation.annotator}"
    lines = markdown_table(title, ("held-out prompts", "win rate, %", "prompts"), parts)
    for name, examples in evaluation.examples.items():
        rows = [
            (_cut(one.prompt), _cut(one.start), _cut(one.after),
             f"{one.start_score:.4f}", f"{one.after_score:.4f}")
            for one in examples
        ]  # fmt: skip
        header = ("prompt", "start", "now", "score of the start", "now")
        lines += markdown_table(
            f"The {name} over the start by {evaluation.annotator}", header, rows
        )
    means = [
        (annotator, name, f"{start:.4f}", f"{now:.4f}")
        for annotator, name, start, now in evaluation.objectives
    ]
    named = ("annotator", "objective", "start", "now")
    return lines + markdown_table("The reward model's objectives", named, means)


def _cut(text: str) -> str:
    """Of a model's or a prompt's text as much as a cell holds."""
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} ..."


def told(figure: Estimate | None) -> str:
    """A figure with its interval."""
    return f"{figure.value:.1f} [{figure.low:.1f}, {figure.high:.1f}]" if figure else ""
