"""A round's plots, drawn once: for its section of the report, Prefect's page of it, and the card.

They are kept beside the round under the steps that they show. `python -m flows.report.plots ROUND`
draws them in a process of its own (flows.report.plots_beside).
"""

import base64
import functools
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from contracts.steps.fingerprint import of_file, of_json
from contracts.tables.parts import write_atomic
from flows.report.figures import round_figures, to_png, to_svg, training_curves
from flows.report.run_data import RoundData
from runtime.lean_imports import spare_pandas
from runtime.stage_process import exit_code_of

_KEPT = ".plots.json"
_SHOWN = ("responses", "scores", "pairs", "tokens", "policy")
# The stages beside it go first.
_NICENESS = 10


@dataclass(frozen=True)
class Plots:
    """What is drawn of a round."""

    figures: list[tuple[str, str]]
    """Title and SVG element of each."""
    curves: bytes
    """The card's, a PNG."""


def round_plots(data: RoundData) -> Plots:
    """The round's plots: as they are kept, or else drawn and kept."""
    return _kept(data) or draw_plots(data)


def card_curves(data: RoundData) -> bytes:
    """The card's plot alone: a card is also made of a policy whose round has no other."""
    kept = _kept(data)
    return kept.curves if kept else to_png(training_curves(data.metrics))


def draw_plots(data: RoundData) -> Plots:
    """Draw a round's plots anew, and keep them."""
    figures = [(title, to_svg(figure)) for title, figure in round_figures(data)]
    plots = Plots(figures, to_png(training_curves(data.metrics)))
    curves = base64.b64encode(plots.curves).decode()
    kept = {"key": _key(data), "figures": figures, "curves": curves}
    write_atomic(data.folder / _KEPT, json.dumps(kept).encode())
    return plots


def is_drawn(data: RoundData) -> bool:
    """Whether the plots of the round as it is are kept."""
    return _kept(data) is not None


def _kept(data: RoundData) -> Plots | None:
    try:
        kept = json.loads((data.folder / _KEPT).read_text())
        if kept["key"] != _key(data):
            return None
        figures = [(str(title), str(svg)) for title, svg in kept["figures"]]
        return Plots(figures, base64.b64decode(kept["curves"]))
    except (OSError, ValueError, KeyError, TypeError):  # not drawn yet, or damaged
        return None


def _key(data: RoundData) -> str:
    """Changes with any step that is shown, and with how it is drawn."""
    paths = [data.folder / name / "_manifest.json" for name in _SHOWN]
    shown = {path.parent.name: path.read_text() for path in paths if path.exists()}
    return of_json({"drawn by": drawn_by(), **shown})


@functools.cache
def drawn_by() -> str:
    """A hash of the modules and templates of this folder."""
    here = Path(__file__).parent
    files = sorted(path for path in [*here.glob("*.py"), *here.glob("templates/*")])
    return of_json({path.name: of_file(path) for path in files})


def _main(folder: str) -> None:
    os.nice(_NICENESS)
    spare_pandas()
    draw_plots(RoundData(Path(folder)))


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: _main(*sys.argv[1:])))
