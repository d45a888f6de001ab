"""What the Prefect UI shows beside the log: progress, sample pairs, a round's plots."""

import base64
import re
import time
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

from flows.pipeline.console import print_warning
from flows.pipeline.planning.planned_step import PlannedStep
from flows.prefect_.publisher import Publisher
from flows.report.evaluation_page import evaluation_lines
from flows.report.figures import round_figures, to_png
from flows.report.run_data import RoundData, sample_pairs
from runtime.progress import Reading, summary

_EVERY_SECONDS = 2.0
_FLUSH_SECONDS = 10.0
_SHOWN_PAIRS = 10
_SHOWN_CHARACTERS = 400

_publisher = Publisher(print_warning)


class StepProgress:
    """A progress artifact for a step, made at its first reading and kept up to date."""

    def __init__(self, step: PlannedStep) -> None:
        self._step = step
        self._id: UUID | None = None
        self._at = -_EVERY_SECONDS

    def publish(self, reading: Reading) -> None:
        """Show how far the step is, every two seconds at most; returns at once."""
        now = time.monotonic()
        if now - self._at >= _EVERY_SECONDS or reading.done >= reading.total:
            self._at = now
            _publisher.put(lambda: self._send(reading))

    def _send(self, reading: Reading) -> None:
        percent = 100.0 * reading.done / max(reading.total, 1)
        text = f"{self._step.title}: {summary(reading)}"
        if self._id is None:
            key = _key(self._step.run, self._step.path, "progress")
            self._id = create_progress_artifact(percent, key=key, description=text)  # type: ignore[assignment]
        else:
            update_progress_artifact(self._id, percent, description=text)


def flush() -> None:
    """Wait a little for what is still to be sent: a run that ends takes its thread along."""
    _publisher.flush(_FLUSH_SECONDS)


def publish_pairs(step: PlannedStep) -> None:
    """A table of ten sample pairs, spread over the margins."""
    rows = [
        {
            "prompt": pair["prompt"][-1]["content"][:_SHOWN_CHARACTERS],
            "chosen": pair["chosen"][-1]["content"][:_SHOWN_CHARACTERS],
            "rejected": pair["rejected"][-1]["content"][:_SHOWN_CHARACTERS],
            "margin": round(pair["margin"], 4),
        }
        for pair in sample_pairs(step.out, _SHOWN_PAIRS)
    ]
    publish_table(rows, _key(step.run, step.path, "sample"), f"{step.title}: samples")


def publish_table(rows: list[dict[str, Any]], name: str, title: str) -> None:
    """A table, a column a key."""
    _publisher.put(partial(create_table_artifact, rows, key=key_of(name), description=title))


def publish_plot(folder: Path, title: str, plot: bytes) -> None:
    """A markdown page with one plot (PNG)."""
    lines = [f"# {folder.name}", *_picture(title, plot)]
    _publish_page(lines, _key(folder, "", "plot"), title)


def publish_round(data: RoundData) -> None:
    """A markdown page with the round's evaluation, then its plots as pictures inside the page."""
    run = data.folder.parent
    lines = [f"# {run.name}, {data.name}"]
    if data.verdict_line:
        lines.append(f"Verdict: {data.verdict_line}.")
    if data.gate_line:
        lines.append(f"At the gate: {data.gate_line}.")
    lines += evaluation_lines(data)
    for title, figure in round_figures(data):
        lines += _picture(title, to_png(figure))
    _publish_page(lines, _key(run, data.folder.name, "plots"), f"Plots of {data.name}")


def _publish_page(lines: list[str], key: str, title: str) -> None:
    page = "\n\n".join(lines)
    _publisher.put(partial(create_markdown_artifact, page, key=key, description=title))


def _picture(title: str, plot: bytes) -> list[str]:
    return [f"## {title}", f"![{title}](data:image/png;base64,{base64.b64encode(plot).decode()})"]


def _key(run: Path, path: str, what: str) -> str:
    return key_of(f"{run.name}-{path}-{what}")


def key_of(name: str) -> str:
    """Prefect's keys hold lower-case letters, digits and dashes only."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
