"""A round in one line: what a reader wants to know of it first, each figure as text."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from contracts.steps.facts import read_facts
from contracts.steps.manifest import read_manifest
from evaluation.bootstrap import Gain
from flows.pipeline.planning.lineage import decision_of
from flows.report.run_data import RoundData
from generation.sample import SampleFacts
from runtime.progress import plain_rate


class Cell(NamedTuple):
    """A figure, what stands beside it in small, and whether it is `good` or `bad` news."""

    text: str = ""
    small: str = ""
    mood: str = ""


Row = Mapping[str, Cell]
_MOODS = {"better": "good", "worse": "bad"}


def round_row(data: RoundData) -> Row:
    """Column to cell, in the order of the table; an empty cell where nothing is known."""
    return {
        "verdict": _verdict(data),
        "trained reward": _gain(data, 0),
        "second reward": _gain(data, 1),
        "win rate, %": _win_rate(data),
        "answer, tokens": _length(data),
        "chosen / rejected": _pair_lengths(data),
        "margin": Cell(f"{data.pairing.margin_mean:.3g}") if data.pairing else Cell(),
        "drift, nats": _drift(data),
        "repeated, %": _repetition(data),
        "dropped": _dropped(data),
        "samples/s": _speed(data),
        "time": _time(data),
        "gate": _gate(data),
    }


def shown_columns(lines: "Sequence[Line]") -> list[str]:
    """The columns of which something is known in any line."""
    names = lines[0].cells if lines else ()
    return [name for name in names if any(line.cells[name].text for line in lines)]


def _verdict(data: RoundData) -> Cell:
    if not data.verdict:
        return Cell()
    return Cell(data.verdict.outcome, mood=_MOODS.get(data.verdict.outcome, ""))


def _gain(data: RoundData, place: int) -> Cell:
    """Over the policy that the round began from, by the annotator that made the pairs (0) or by
    one that did not (1)."""
    named = data.rewarded_by[place : place + 1]
    gain = data.gains.get(named[0]) if named else None
    return _interval(gain.over_before) if gain else Cell()


def _interval(gain: Gain) -> Cell:
    small = f"{gain.low:+.4f} to {gain.high:+.4f}"
    return Cell(f"{gain.mean:+.4f}", small, _MOODS.get(gain.verdict, ""))


def _win_rate(data: RoundData) -> Cell:
    verdict = data.verdict
    rate = verdict.evidence.win_rate if verdict else None
    return Cell(f"{rate.value:.1f}", f"{rate.low:.1f} to {rate.high:.1f}") if rate else Cell()


def _length(data: RoundData) -> Cell:
    if not data.verdict:
        return Cell()
    lengths = data.verdict.lengths
    return Cell(f"{lengths.after:,.1f}", f"{lengths.before:,.1f} before")


def _pair_lengths(data: RoundData) -> Cell:
    if not (pairs := data.pairing):
        return Cell()
    text = f"{pairs.chosen_tokens_mean:,.1f} / {pairs.rejected_tokens_mean:,.1f}"
    return Cell(text, f"chosen longer: {100 * pairs.chosen_longer_share:.0f} %")


def _drift(data: RoundData) -> Cell:
    drift = data.verdict.evidence.drift if data.verdict else None
    return Cell(f"{drift.value:.3f}", f"{drift.low:.3f} to {drift.high:.3f}") if drift else Cell()


def _repetition(data: RoundData) -> Cell:
    facts = read_facts(data.folder / "evaluation" / "responses", SampleFacts)
    if facts is None or facts.repetition is None:
        return Cell()
    return Cell(f"{100 * facts.repetition:.2f}")


def _dropped(data: RoundData) -> Cell:
    dropped = sum(sum(manifest.dropped.values()) for manifest in data.manifests)
    return Cell(f"{dropped:,}")


def _speed(data: RoundData) -> Cell:
    sampled = read_manifest(data.folder / "responses")
    if sampled is None or sampled.taken_from or sampled.resumed or not sampled.seconds:
        return Cell()
    return Cell(plain_rate(sampled.rows / sampled.seconds))


def _time(data: RoundData) -> Cell:
    """Steps that were taken over cost nothing here; a resumed one counts since then alone."""
    own = [manifest for manifest in data.manifests if not manifest.taken_from]
    at_least = "at least" if any(manifest.resumed for manifest in own) else ""
    return Cell(str(timedelta(seconds=round(sum(one.seconds for one in own)))), at_least)


def _gate(data: RoundData) -> Cell:
    decision = decision_of(data.folder)
    return Cell(decision.action, f"by {decision.by}") if decision else Cell()


class RunRounds(NamedTuple):
    """A run's rounds, oldest first, and how to come to its report from the page."""

    name: str
    report: str
    """Empty on its own report."""
    rounds: Sequence[RoundData]


class Line(NamedTuple):
    """One line of the table."""

    run: RunRounds
    round: RoundData
    cells: Row


def table_lines(runs: Sequence[RunRounds]) -> list[Line]:
    """Round by round, in each the runs in their order."""
    lines = [Line(run, data, round_row(data)) for run in runs for data in run.rounds]
    return sorted(lines, key=lambda line: line.round.number)
