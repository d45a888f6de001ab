"""`report.html`: one file, no scripts, nothing loaded from elsewhere.

The page's own policy has the browser hold it to that, for a run's folder may come from others.

A round's section is kept beside the round under the manifests that it shows, so that a start
of a run with many rounds draws the plots of none that is as it was.
"""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template
from markupsafe import Markup

from contracts.errors import UserError
from contracts.steps.fingerprint import of_json
from contracts.tables.parts import write_atomic
from flows.pipeline.folder.recorded import recorded_keys
from flows.report.figures import by_round, to_svg
from flows.report.plots import drawn_by, round_plots
from flows.report.provenance import provenance
from flows.report.round_row import RunRounds, shown_columns, table_lines
from flows.report.run_data import RoundData, finished_rounds, sample_pairs, trained_rounds
from flows.report.step_summary import drop_rows, step_summaries
from runtime.lean_imports import spare_pandas
from runtime.progress import plain_rate

_SECTION = ".section.html"
_SHOWN_PAIRS = 10
# Always escaped: by its name, `*.html.j2` would not count as HTML.
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True
)
_TEMPLATES.filters["plain"] = plain_rate


def write_report(folder: Path) -> Path:
    """Write the report of the run in `folder` from what is finished; its path.

    Raises:
        UserError: the folder is no run.
    """
    refuse_no_run(folder)
    spare_pandas()
    rounds, steps = finished_rounds(folder), step_summaries(folder)
    # First: a round that is not evaluated has a line too.
    runs = [RunRounds(folder.name, "", trained_rounds(folder))]
    lines = table_lines(runs)
    page = template("report.html.j2").render(
        run=folder.name,
        config=(folder / "config.yaml").read_text(),
        model=recorded_keys(folder)["policy"]["path"],
        made=provenance(folder, [step.manifest for step in steps]),
        lines=lines,
        columns=shown_columns(lines),
        by_round=rounds_plot(runs),
        rounds=rounds,
        sections=[_section(data) for data in rounds],
        steps=steps,
        drops=[*drop_rows(steps)],
    )
    path = folder / "report.html"
    write_atomic(path, page.encode())
    return path


def refuse_no_run(folder: Path) -> None:
    """Refuse a folder that holds no run.

    Raises:
        UserError: the folder is no run.
    """
    if not (folder / "config.yaml").exists():
        raise UserError(f"{folder}: no run lies here (it has no config.yaml)")


def template(name: str) -> Template:
    """One of this folder's."""
    return _TEMPLATES.get_template(name)


def rounds_plot(runs: Sequence[RunRounds]) -> Markup:
    """Reward and length by round, as an SVG element."""
    # Our own plot; every text from a model or a prompt stays escaped.
    return Markup(to_svg(by_round({run.name: run.rounds for run in runs})))  # noqa: S704


def is_reported(folder: Path) -> bool:
    """Whether the run's page shows the round in `folder` as it is."""
    return (folder.parent / "report.html").exists() and _kept(RoundData(folder)) is not None


def draw_section(data: RoundData) -> str:
    """Draw a round's section, as it is kept for the page; of one with a table that is gone or
    damaged, a section that says so, which is not kept."""
    try:
        section = _draw(data)
    except UserError as error:  # an old round's loss is no reason to show none of the others
        return template("undrawn.html.j2").render(round=data, error=error)
    write_atomic(data.folder / _SECTION, f"{_key(data)}\n{section}".encode())
    return section


def _section(data: RoundData) -> Markup:
    # Escaped when it was drawn.
    return Markup(_kept(data) or draw_section(data))  # noqa: S704


def _kept(data: RoundData) -> str | None:
    path = data.folder / _SECTION
    key, _, text = path.read_text().partition("\n") if path.exists() else ("", "", "")
    return text if key == _key(data) else None


def _key(data: RoundData) -> str:
    """Changes with any step of the round, with what its answers are compared with, and with how
    they are drawn."""
    folders = dict.fromkeys([data.folder, data.before, data.folder.parent / "round-0"])
    shown = [path for folder in folders for path in folder.rglob("_manifest.json")]
    texts = {str(path.relative_to(data.folder.parent)): path.read_text() for path in shown}
    return of_json({"drawn by": drawn_by(), **texts})


def _draw(data: RoundData) -> str:
    # Our own plots; every text from a model or a prompt stays escaped.
    figures = [(title, Markup(svg)) for title, svg in round_plots(data).figures]  # noqa: S704
    pairs = sample_pairs(data.folder / "pairs", _SHOWN_PAIRS)
    return template("section.html.j2").render(round=data, figures=figures, pairs=pairs)
