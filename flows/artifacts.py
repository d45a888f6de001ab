"""What the Prefect UI shows beside the log: progress, sample pairs, a round's plots."""

import base64
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from contracts.progress import Reading
from flows.console import summary
from flows.figures import round_figures, to_png
from flows.plan import PlannedStep
from flows.run_data import RoundData, sample_pairs

_EVERY_SECONDS = 2.0
_SHOWN_PAIRS = 10
_SHOWN_CHARACTERS = 400


@contextmanager
def progress_of(step: PlannedStep) -> Iterator[Callable[[Reading], None]]:
    """A progress artifact for a step, made at its first reading and kept up to date."""
    state: dict = {"id": None, "at": 0.0}

    def publish(reading: Reading) -> None:
        percent = 100.0 * reading.done / max(reading.total, 1)
        now = time.monotonic()
        if state["id"] is None:
            state["id"] = create_progress_artifact(
                percent,
                key=_key(step.run, step.path, "progress"),
                description=_describe(step, reading),
            )
        elif now - state["at"] < _EVERY_SECONDS and reading.done < reading.total:
            return
        else:
            update_progress_artifact(state["id"], percent, description=_describe(step, reading))
        state["at"] = now

    yield publish


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
    create_table_artifact(
        rows, key=_key(step.run, step.path, "sample"), description=f"{step.title}: samples"
    )


def publish_plot(folder: Path, title: str, plot: bytes) -> None:
    """A markdown page with one plot (PNG)."""
    lines = [f"# {folder.name}", *_picture(title, plot)]
    create_markdown_artifact("\n\n".join(lines), key=_key(folder, "", "plot"), description=title)


def publish_round(data: RoundData) -> None:
    """A markdown page with the round's plots, as pictures inside the page."""
    run = data.folder.parent
    lines = [f"# {run.name}, {data.name}"]
    for title, figure in round_figures(data):
        lines += _picture(title, to_png(figure))
    create_markdown_artifact(
        "\n\n".join(lines),
        key=_key(run, data.folder.name, "plots"),
        description=f"Plots of {data.name}",
    )


def _picture(title: str, plot: bytes) -> list[str]:
    return [f"## {title}", f"![{title}](data:image/png;base64,{base64.b64encode(plot).decode()})"]


def _describe(step: PlannedStep, reading: Reading) -> str:
    return f"{step.title}: {summary(reading)}"


def _key(run: Path, path: str, what: str) -> str:
    """Prefect's keys hold lower-case letters, digits and dashes only."""
    return re.sub(r"[^a-z0-9]+", "-", f"{run.name}-{path}-{what}".lower()).strip("-")
