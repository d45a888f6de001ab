"""What the Prefect UI shows beside the log: progress, tables of a step, a round's page, the run's.

Its page of artifacts sorts by nothing that reads; keys hold round and place, so that it can.
"""

import base64
import platform
import re
import shlex
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from annotation import pairs
from contracts.steps.manifest import Manifest
from flows.pipeline.console import print_warning
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.planning.step_order import position
from flows.prefect_.publisher import Publisher
from flows.report.evaluation_page import evaluation_lines
from flows.report.markdown import as_text, markdown_table
from flows.report.plots import round_plots
from flows.report.round_row import Cell, RunRounds, shown_columns, table_lines
from flows.report.run_data import RoundData, metric_rows, sample_pairs, trained_rounds
from runtime.progress import Reading, summary, told_workers
from training import train

_EVERY_SECONDS = 2.0
_FLUSH_SECONDS = 10.0
_SHOWN_PAIRS = 10
_SHOWN_STEPS = 12
# Prefect wraps no cell: margin, chosen and rejected stand side by side from 1,400 pixels on.
_SHOWN_CHARACTERS = 48

_publisher = Publisher(print_warning)


class StepProgress:
    """A progress artifact for a step, made at its first reading and kept up to date."""

    def __init__(self, step: PlannedStep) -> None:
        self._step = step
        self._id: UUID | None = None
        self._at = -_EVERY_SECONDS
        self._nodes: dict[str, int] = {}
        """The most workers that each node of a cluster had at one time."""
        self._shares: Mapping[str, float] = {}

    def publish(self, reading: Reading) -> None:
        """Show how far the step is, every two seconds at most; returns at once."""
        for node, count in reading.workers.items():
            self._nodes[node] = max(count, self._nodes.get(node, 0))
        self._shares = reading.shares
        now = time.monotonic()
        if now - self._at >= _EVERY_SECONDS or reading.done >= reading.total:
            self._at = now
            _publisher.put(lambda: self._send(reading))

    def _send(self, reading: Reading) -> None:
        percent = 100.0 * reading.done / max(reading.total, 1)
        said = [summary(reading), told_workers(reading.workers)]
        text = f"{self._step.title}: {', '.join(filter(None, said))}"
        if self._id is None:
            key = _key(self._step.run, self._step.path, "progress")
            self._id = create_progress_artifact(percent, key=key, description=text)  # type: ignore[assignment]
        else:
            update_progress_artifact(self._id, percent, description=text)

    def publish_nodes(self) -> None:
        """A table of the cluster's nodes that worked, where one was used."""
        rows = [
            {"node": node, "workers": self._nodes.get(node, 0), "of all, %": round(100 * share, 1)}
            for node, share in self._shares.items()
        ]
        if rows:
            name = _key(self._step.run, self._step.path, "nodes")
            publish_table(rows, name, f"{self._step.title}: nodes")


def flush() -> None:
    """Wait a little for what is still to be sent: a run that ends takes its thread along."""
    _publisher.flush(_FLUSH_SECONDS)


def publish_step(step: PlannedStep, manifest: Manifest) -> None:
    """What a step that has just been made shows: its drops, ten pairs, its training's metrics."""
    if manifest.dropped:
        publish_table(_drops(manifest), _key(step.run, step.path, "drops"), f"{step.title}: drops")
    if step.stage is pairs.STAGE:
        title = f"{step.title}: ten, from the widest to the narrowest margin"
        publish_table(_pairs(step.out), _key(step.run, step.path, "sample"), title)
    if step.stage is train.STAGE:
        title = f"{step.title}: metrics of its steps"
        publish_table(
            metric_rows(step.out, _SHOWN_STEPS), _key(step.run, step.path, "metrics"), title
        )


def _drops(manifest: Manifest) -> list[dict[str, Any]]:
    everything = manifest.rows + sum(manifest.dropped.values())
    return [
        {"reason": reason, "rows": count, "of all, %": round(100 * count / everything, 2)}
        for reason, count in manifest.dropped.items()
    ]


def _pairs(folder: Path) -> list[dict[str, Any]]:
    """What differs stands first."""
    return [
        {
            "margin": round(pair["margin"], 4),
            **{name: _cut(pair[name][-1]["content"]) for name in ("chosen", "rejected", "prompt")},
        }
        for pair in sample_pairs(folder, _SHOWN_PAIRS)
    ]


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} ..."


def publish_table(rows: list[dict[str, Any]], name: str, title: str) -> None:
    """A table, a column a key. Prefect's page reads each text in it as markdown."""
    cells = [
        {key: as_text(value) if isinstance(value, str) else value for key, value in row.items()}
        for row in rows
    ]
    _publisher.put(partial(create_table_artifact, cells, key=key_of(name), description=title))


def publish_plot(folder: Path, title: str, plot: bytes) -> None:
    """A markdown page with one plot (PNG)."""
    lines = [f"# {folder.name}", *_picture(title, "png", plot)]
    _publish_page(lines, _key(folder, "", "plot"), title)


def publish_round(data: RoundData) -> None:
    """A markdown page with the round's evaluation, then its plots as pictures inside the page."""
    run = data.folder.parent
    lines = [f"# {run.name}, {data.name}"]
    if data.verdict_line:
        lines.append(f"Verdict: {as_text(data.verdict_line)}.")
    if data.gate_line:
        lines.append(f"At the gate: {as_text(data.gate_line)}.")
    lines += evaluation_lines(data)
    for title, svg in round_plots(data).figures:
        lines += _picture(title, "svg+xml", _on_white(svg).encode())
    title = f"{data.name}: {data.verdict_line or 'not evaluated'}"
    _publish_page(lines, _key(run, data.folder.name, "summary"), title)


def publish_run(run: Path) -> None:
    """Publish the page that leads to the report, the data and the folders, with a line for each
    round."""
    lines = table_lines([RunRounds(run.name, "", trained_rounds(run))])
    lines.reverse()  # a column a round, the newest first: the page scrolls sideways for the old
    rows = [[name, *(_cell(line.cells[name]) for line in lines)] for name in shown_columns(lines)]
    here = run.resolve()
    page = [
        f"# {run.name}",
        f"Report, for a browser on {platform.node()}: `{(here / 'report.html').as_uri()}`",
        f"Prompts, responses and scores: `onpolicy browse {shlex.quote(str(here))}`",
        f"Tables: `{here}`",
        *markdown_table("Rounds", ["", *(line.round.name for line in lines)], rows),
    ]
    _publish_page(page, key_of(f"{run.name}-00-report"), f"{run.name}: where all of it is")


def _cell(cell: Cell) -> str:
    return f"{cell.text} ({cell.small})" if cell.small else cell.text


def _publish_page(lines: list[str], key: str, title: str) -> None:
    page = "\n\n".join(lines)
    _publisher.put(partial(create_markdown_artifact, page, key=key, description=title))


def _picture(title: str, kind: str, plot: bytes) -> list[str]:
    data = base64.b64encode(plot).decode()
    return [f"## {title}", f"![{title}](data:image/{kind};base64,{data})"]


def _on_white(svg: str) -> str:
    """Prefect's page may be dark, and nothing in it turns a plot's colours."""
    return svg.replace("<svg ", '<svg style="background: #fff" ', 1)


def _key(run: Path, path: str, what: str) -> str:
    """Sorts as the pipeline goes: `demo-round-01-03-pairs-sample`."""
    folder, _, rest = path.partition("/")
    if not folder.startswith("round-"):
        return key_of(f"{run.name}-{path}-{what}")
    number = int(folder.removeprefix("round-"))
    place = f"{position(path) + 1:02}" if rest else "00"
    return key_of(f"{run.name}-round-{number:02}-{place}-{rest}-{what}")


def key_of(name: str) -> str:
    """Prefect's keys hold lower-case letters, digits and dashes only."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
