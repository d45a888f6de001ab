"""`onpolicy report RUN --compare OTHER`: the rounds of two runs on one page."""

import json
import os
from pathlib import Path
from typing import Any

from contracts.errors import UserError
from contracts.steps.differences import differences
from contracts.tables.parts import write_atomic
from flows.pipeline.folder.recorded import recorded_keys
from flows.report.html import refuse_no_run, rounds_plot, template
from flows.report.round_row import RunRounds, shown_columns, table_lines
from flows.report.run_data import trained_rounds
from runtime.lean_imports import spare_pandas

_ABOUT_PLACES = ("name", "runs_dir")


def write_comparison(run: Path, other: Path) -> Path:
    """Write `compare-OTHER.html` into the run's folder; its path.

    Raises:
        UserError: one of the folders is no run, or neither has a trained round.
    """
    for folder in (run, other):
        refuse_no_run(folder)
    spare_pandas()
    folders = [run.resolve(), other.resolve()]
    named_alike = folders[0].name == folders[1].name
    runs = [
        RunRounds(str(folder) if named_alike else folder.name, _report(folder, folders[0]), rounds)
        for folder, rounds in zip(folders, map(trained_rounds, folders), strict=True)
    ]
    if not (lines := table_lines(runs)):
        raise UserError(f"{run}, {other}: no round is trained yet, so nothing can be compared")
    page = template("compare.html.j2").render(
        runs=runs,
        lines=lines,
        columns=shown_columns(lines),
        by_round=rounds_plot(runs),
        differences=[
            (key, _shown(first), _shown(second))
            for key, first, second in differences(_config(run), _config(other))
        ],
    )
    path = run / f"compare-{other.resolve().name}.html"
    write_atomic(path, page.encode())
    return path


def _report(folder: Path, page_in: Path) -> str:
    """A link from the page."""
    return (Path(os.path.relpath(folder, page_in)) / "report.html").as_posix()


def _shown(value: Any) -> str:
    """A config's value as a file of YAML may have it."""
    if value is None or isinstance(value, str):
        return value or "none"
    return json.dumps(value, ensure_ascii=False)


def _config(run: Path) -> dict[str, Any]:
    return {key: value for key, value in recorded_keys(run).items() if key not in _ABOUT_PLACES}
