"""A round's evaluation as markdown, for the Prefect UI."""

from collections.abc import Sequence

from evaluation.win_rates.estimate import Estimate
from flows.report.run_data import RoundData


def evaluation_lines(data: RoundData) -> list[str]:
    """Reasons, win rates and figures beside the published ones, each a table, if it has rows."""
    evaluation = data.evaluation
    lines = _table("Reasons", ("measure", "effect", "figure"), data.reasons)
    rows = [
        (one.judge, one.benchmark, name, told(one.figures[name]), told(one.gains.get(name)),
         f"{one.n} of {one.asked}")
        for one in evaluation.judged for name in one.figures
    ]  # fmt: skip
    header = ("judge", "benchmark", "figure", "now", "gain", "prompts")
    lines += _table("Win rates by judge", header, rows)
    beside = [
        (line.measured.model, line.measured.metric, told(line.measured.estimate),
         f"{line.published.value:.1f}" if line.published else "",
         "; ".join(line.not_comparable))
        for line in evaluation.published
    ]  # fmt: skip
    named = ("model", "metric", "here", "published", "not comparable")
    lines += _table("Beside the published figures", named, beside)
    parts = [(part, told(rate), str(n)) for part, n, rate in evaluation.reward_parts]
    title = f"Win rate over the start by {evaluation.annotator}"
    return lines + _table(title, ("held-out prompts", "win rate, %", "prompts"), parts)


def told(figure: Estimate | None) -> str:
    """A figure with its interval."""
    return f"{figure.value:.1f} [{figure.low:.1f}, {figure.high:.1f}]" if figure else ""


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = [_row(header), _row(["---"] * len(header)), *map(_row, rows)]
    return [f"## {title}", "\n".join(lines)]


def _row(cells: Sequence[str]) -> str:
    """A cell's text can end neither its cell nor its row."""
    plain = (" ".join(cell.replace("|", "\\|").split()) for cell in cells)
    return f"| {' | '.join(plain)} |"
