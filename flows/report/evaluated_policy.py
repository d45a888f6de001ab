"""What `onpolicy evaluate` says of a policy: a line a figure."""

from collections.abc import Iterator
from pathlib import Path

from contracts.steps.facts import read_facts
from evaluation import answers
from evaluation.judged import WinRatesFacts
from evaluation.win_rates.estimate import Estimate
from evaluation.win_rates.published import Beside, beside_published
from flows.report.published_models import BY_RULE, measured


def told(folder: Path, label: str, against: str | None) -> Iterator[str]:
    """A policy's figures, a line a benchmark."""
    facts = read_facts(folder / label / "answers", answers.AnswersFacts)
    for name, one in facts.benchmarks.items() if facts else ():
        parts = [f"{one.answered:,} of {one.turns:,} answered"]
        if one.characters is not None:
            parts.append(f"{int(one.characters):,} characters each")
        if one.accuracy is not None:
            parts.append(f"{one.accuracy:.2%} right, {one.unparsed} unreadable")
        parts += [f"{metric} {value:.4g}" for metric, value in (one.metrics or {}).items()]
        yield f"{label} {name}: {', '.join(parts)}; {folder / label / 'answers' / name}"
    for line in beside_published([*measured(folder / label, label)]):
        yield f"{label} {_beside(line)}"
    yield from _missing(folder, label)
    if against:
        yield from _gains(folder, label, against)


def _missing(folder: Path, label: str) -> Iterator[str]:
    facts = read_facts(folder / label / "win_rates", WinRatesFacts)
    for one in facts.judged if facts else ():
        for figure, reason in one.missing.items():
            why = "; ".join(filter(None, (reason, one.left_out)))
            yield f"{label} {one.benchmark}.{figure} by {one.model}: not known: {why}"


def _gains(folder: Path, label: str, against: str) -> Iterator[str]:
    facts = read_facts(folder / label / "gains" / against, WinRatesFacts)
    if facts is None:
        return
    for one in facts.judged:
        for figure, gain in one.gains.items():
            over = f"gain over {against} by {one.model}"
            yield f"{label} {one.benchmark}.{figure}, {over}: {_interval(gain, facts.confidence)}"


def _beside(line: Beside) -> str:
    """A figure with its interval, and the published one."""
    by = "" if line.measured.judge == BY_RULE else f" by {line.measured.judge}"
    interval = _interval(line.measured.estimate, line.measured.confidence)
    parts = [f"{line.measured.metric}{by}: {interval}"]
    if line.measured.left_out:
        parts.append(line.measured.left_out)
    if line.published:
        parts.append(f"published {line.published.value:.2f} ({line.published.source})")
    if line.not_comparable:
        parts.append(f"not comparable: {', '.join(line.not_comparable)}")
    return "; ".join(parts)


def _interval(estimate: Estimate, confidence: float) -> str:
    ends = f"{estimate.low:.2f} to {estimate.high:.2f}"
    return f"{estimate.value:.2f} ({100 * confidence:g} % interval {ends})"
