"""`onpolicy report`: every round's section and card drawn anew, on all cores.

Plots take 0.03 s apiece, a round has ten, and matplotlib draws one at a time: so processes share
the rounds. They are forked where that can be, for an import of all that draws takes 1.5 s.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from flows.report.cards.model_card import write_model_card
from flows.report.html import draw_section, refuse_no_run, write_report
from flows.report.plots import draw_plots
from flows.report.run_data import RoundData, finished_rounds
from runtime.fork_server.fitness import can_fork
from runtime.lean_imports import spare_pandas
from runtime.pool.placement import cores

# A process more is worth its start from so many rounds on.
_ROUNDS_EACH = 4


def redraw(run: Path) -> Path:
    """Draw all that `report.html` and the policies' cards show; the report's path.

    Raises:
        UserError: the folder is no run, or a file of it is damaged.
    """
    refuse_no_run(run)
    spare_pandas()
    folders = [data.folder for data in finished_rounds(run)]
    workers = min(cores(), len(folders) // _ROUNDS_EACH)
    if workers < 2:
        _draw(folders)
    else:
        shares = [folders[first::workers] for first in range(workers)]
        context = multiprocessing.get_context("fork" if can_fork() else "spawn")
        with ProcessPoolExecutor(workers, context) as processes:
            list(processes.map(_draw, shares))
    return write_report(run)


def _draw(folders: Sequence[Path]) -> None:
    spare_pandas()
    for data in map(RoundData, folders):
        draw_plots(data)
        write_model_card(data, data.folder / "policy")
        draw_section(data)
