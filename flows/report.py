"""`report.html`: one file, no scripts, nothing loaded from elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from contracts.config import read_yaml
from contracts.errors import UserError
from contracts.parts import write_atomic
from flows.figures import round_figures, to_svg
from flows.run_data import RoundData, finished_rounds, sample_pairs, step_summaries

_SHOWN_PAIRS = 10


@dataclass(frozen=True)
class Section:
    """One round as the page shows it."""

    data: RoundData
    figures: list[tuple[str, Markup]]
    pairs: list[dict[str, Any]]


def write_report(folder: Path) -> Path:
    """Write the report of the run in `folder` from what is finished; its path.

    Raises:
        UserError: the folder is no run.
    """
    if not (folder / "config.yaml").exists():
        raise UserError(f"{folder}: no run lies here (it has no config.yaml)")
    # Always: by its name, `*.html.j2` would not count as HTML.
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    config = (folder / "config.yaml").read_text()
    page = environment.get_template("report.html.j2").render(
        run=folder.name,
        config=config,
        model=read_yaml(folder / "config.yaml")["policy"]["path"],
        rounds=[_section(data) for data in reversed(finished_rounds(folder))],
        steps=step_summaries(folder),
    )
    path = folder / "report.html"
    write_atomic(path, page.encode())
    return path


def _section(data: RoundData) -> Section:
    # Our own plots; every text from a model or a prompt stays escaped.
    figures = [(title, Markup(to_svg(figure))) for title, figure in round_figures(data)]  # noqa: S704
    pairs = sample_pairs(data.folder / "pairs", _SHOWN_PAIRS)
    return Section(data, figures, pairs)
