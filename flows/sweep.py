"""`onpolicy sweep`: a grid of configs, each a run of its own, and one table that compares them."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from markupsafe import Markup
from prefect import flow

from contracts.config.base import check
from contracts.errors import Interrupted, OnPolicyError, Terminated, UserError
from contracts.steps.fingerprint import of_json
from contracts.tables.parts import write_atomic
from evaluation.verdicts.decide import Outcome
from flows.on_policy import on_policy
from flows.pipeline.checks.check import refuse_unready
from flows.pipeline.config import RunConfig
from flows.pipeline.console import console, print_warning
from flows.pipeline.folder.run_folder import claim_together, make_folder, refuse_busy, steps_left
from flows.pipeline.load_run import load_run
from flows.pipeline.preload import preload
from flows.prefect_ import artifacts
from flows.prefect_.outage import remembered, run_flow
from flows.prefect_.run_server import ensure_server
from flows.report.figures import intervals, to_svg
from flows.report.html import template
from flows.report.run_data import finished_rounds
from runtime.signals import interruptible
from runtime.stage_process import describe

_GAIN = ("mean", "low", "high", "at_lowest", "at_highest")


def points(grid: Sequence[str]) -> list[list[str]]:
    """Every combination of `key=value,value` entries, as overrides.

    Raises:
        UserError: an entry names no key or no value, or is about the run's name.
    """
    axes = []
    for entry in grid:
        key, separator, values = entry.partition("=")
        if not (separator and key and values):
            raise UserError(f"--grid {entry!r}: write it as key=value,value, e.g. seed=1,2,3")
        if key.strip() == "name":
            raise UserError(f"--grid {entry!r}: these points are the same run by several names; "
                            "leave `name` to the sweep")  # fmt: skip
        axes.append([f"{key}={value}" for value in values.split(",")])
    return [list(point) for point in itertools.product(*axes)]


def run_sweep(path: Path, overrides: Sequence[str], grid: Sequence[str]) -> Path:
    """Run each point of the grid that is not done yet; the path of the comparison page."""
    grid_points = points(grid)
    runs = [load_run(path, [*overrides, *point]) for point in grid_points]
    for run, point in zip(runs, grid_points, strict=True):
        _refuse_asking(run, point)
    if len({run.name for run in runs}) < len(runs):
        raise UserError("--grid: two points are the same run; leave `name` to the sweep")
    preload([step for run in runs for step in steps_left(run)])
    for run in runs:
        refuse_unready(run)
        make_folder(run)
        refuse_busy(run.folder)
    base = load_run(path, overrides)
    name = f"{base.name}-sweep-{of_json(grid_points)[:6]}"
    labels = [", ".join(point) for point in grid_points]
    with interruptible():
        settings = [run.model_dump(mode="json") for run in claim_together(runs)]
        ensure_server()
        failed = run_flow(sweep, name, str(base.runs_dir), labels, settings)
    folder = base.runs_dir / name
    if failed:
        raise OnPolicyError(
            f"{len(failed)} of {len(grid_points)} points failed: {'; '.join(failed)}\n"
            f"The others are compared in {folder / 'report.html'}; the same command tries again."
        )
    return folder / "report.html"


def _refuse_asking(run: RunConfig, point: Sequence[str]) -> None:
    """
    Raises:
        UserError: a point's gate asks a person, and a sweep goes on to its next point at once.
    """
    if run.gate is None:
        return
    for outcome in get_args(Outcome):
        if run.gate.rule(outcome) == "ask":
            raise UserError(
                f"gate.{outcome}: ask ({', '.join(point)}): a sweep waits for nobody; "
                "set it to promote, stop or last_good"
            )


@flow(name="sweep", flow_run_name="{name}", persist_result=False)
@remembered
def sweep(name: str, runs_dir: str, labels: list[str], configs: list[dict[str, Any]]) -> list[str]:
    """Each config as a sub-flow; one row a config and annotator, as an artifact and as a page.

    Returns:
        The labels of the points that failed; none of them ends the others.
    """
    points = dict(zip(labels, configs, strict=True))
    rows = [*run_points(points, lambda config: run_flow(on_policy, config))]
    artifacts.publish_table(rows, name, "Points of the sweep")
    write_comparison(Path(runs_dir) / name, rows)
    artifacts.flush()
    return [row["point"] for row in rows if "failed" in row]


def run_points(
    points: Mapping[str, dict[str, Any]], run: Callable[[dict[str, Any]], object]
) -> Iterator[dict[str, Any]]:
    """Run each point and yield its rows; of one that failed, a row with its message in `failed`."""
    for number, (label, config) in enumerate(points.items(), 1):
        folder = check(RunConfig, config, origin=label).folder
        console.print(f"point {number} of {len(points)}: {label} ({folder.name})")
        try:
            run(config)
            rows = point_rows(label, folder)
        except (Interrupted, Terminated):
            raise
        except Exception as error:  # noqa: BLE001 - the others need not fail with it
            failed = describe(error)
            print_warning(f"{label}: {failed}")
            yield {"point": label, "run": folder.name, "failed": failed}
        else:
            yield from rows


def point_rows(label: str, folder: Path) -> list[dict[str, Any]]:
    """A run's results after its last round: gains with intervals, the last training metrics."""
    last = finished_rounds(folder)[-1]
    metrics = {name: float(values[-1]) for name, (_, values) in last.metrics.items()}
    return [
        {
            "point": label,
            "run": folder.name,
            "annotator": annotator,
            "reward": gain.after,
            **{key: getattr(gain.over_start, key) for key in _GAIN},
            "unscored": gain.unscored["after"],
            "loss": metrics.get("loss"),
            "margin": metrics.get("rewards/margins"),
        }
        for annotator, gain in last.gains.items()
    ]


def write_comparison(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """`comparison.yaml` for programs, `report.html` for people; the latter's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "comparison.yaml", yaml.safe_dump(rows, sort_keys=False).encode())
    compared = [row for row in rows if "failed" not in row]
    page = template("sweep.html.j2").render(
        name=folder.name,
        rows=compared,
        failed=[row for row in rows if "failed" in row],
        svg=Markup(to_svg(intervals(compared)) if compared else ""),  # noqa: S704 - our own plot
    )
    write_atomic(folder / "report.html", page.encode())
    return folder / "report.html"
