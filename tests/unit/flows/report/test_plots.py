"""A round's plots are drawn once, until a step that they show is another."""

import shutil
from pathlib import Path

from reported_run import PAIR, PAIRED, write

from contracts.tables.schemas import PAIRS
from flows.report import plots_beside
from flows.report.plots import _KEPT, card_curves, draw_plots, is_drawn, round_plots
from flows.report.run_data import RoundData


def test_plots_are_kept_until_a_step_that_they_show_is_another(run: Path) -> None:
    data = RoundData(run / "round-1")
    assert not is_drawn(data)
    first = round_plots(data)
    assert is_drawn(data) and round_plots(data) == first
    assert card_curves(data) == first.curves
    shutil.rmtree(data.folder / "evaluation")
    assert is_drawn(RoundData(data.folder))

    write(data.folder / "pairs", PAIRS, PAIR | {"margin": 0.25}, **PAIRED)
    assert not is_drawn(RoundData(data.folder))
    assert round_plots(RoundData(data.folder)) != first


def test_damaged_plots_are_drawn_again(run: Path) -> None:
    data = RoundData(run / "round-1")
    first = round_plots(data)
    kept = data.folder / _KEPT
    kept.write_text(kept.read_text()[:-9])
    assert not is_drawn(data) and round_plots(data) == first


def test_a_process_draws_what_the_report_would(run: Path) -> None:
    folder = run / "round-1"
    plots_beside.begin(folder)
    plots_beside.wait()
    drawn = (folder / _KEPT).read_text()
    draw_plots(RoundData(folder))
    assert (folder / _KEPT).read_text() == drawn
