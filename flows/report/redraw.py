"""`onpolicy report`: every round's section and card drawn anew, on all cores.

`python -m flows.report.redraw ROUND...` draws those of some rounds; a process each share, for plots
take 0.05 s apiece, a round has ten, and matplotlib draws one at a time.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from contracts.errors import OnPolicyError
from flows.report.cards.model_card import write_model_card
from flows.report.html import draw_section, refuse_no_run, write_report
from flows.report.run_data import RoundData, finished_rounds
from runtime.child_process import Child
from runtime.lean_imports import spare_pandas
from runtime.module_process import start_module
from runtime.pool.placement import cores
from runtime.stage_process import exit_code_of, parse_error

# A process more is worth its imports from so many rounds on.
_ROUNDS_EACH = 4


def redraw(run: Path) -> Path:
    """Draw all that `report.html` and the policies' cards show; the report's path.

    Raises:
        UserError: the folder is no run.
        OnPolicyError: a process that drew has failed.
    """
    refuse_no_run(run)
    folders = [str(data.folder) for data in finished_rounds(run)]
    workers = min(cores(), len(folders) // _ROUNDS_EACH)
    if workers < 2:
        _draw(folders)
    else:
        shares = [folders[first::workers] for first in range(workers)]
        processes = [start_module("flows.report.redraw", share, {}) for share in shares]
        for process in processes:
            _follow(process)
    return write_report(run)


def _draw(folders: Sequence[str]) -> None:
    spare_pandas()
    for data in map(RoundData, map(Path, folders)):
        write_model_card(data, data.folder / "policy")
        draw_section(data)


def _follow(process: Child) -> None:
    assert process.stdout
    lines = process.stdout.read().splitlines()
    if process.wait():
        told = [message for line in lines if (message := parse_error(line))]
        raise OnPolicyError(f"drawing the report failed: {(told or lines or ['killed'])[-1]}")


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: _draw(sys.argv[1:])))
