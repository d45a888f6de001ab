"""What every machine but the first does: join each training that machine 0 launches.

`python -m training.launch.follow_machine FOLDER MACHINE_RANK` joins a single step's, until its
folder is finished.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from contracts.errors import OnPolicyError, UserError
from contracts.steps.manifest import read_manifest
from runtime.child_process import Child
from runtime.stage_process import configure_logging, exit_code_of
from training.launch.accelerate import follow, start, together
from training.launch.machines import FILE, Launch, read_launch

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
# Machine 0 withdraws a launch when its own processes have ended; ours are then about to.
_GRACE_SECONDS = 60.0


def join(folder: Path, rank: int, finished: Callable[[], bool]) -> None:
    """Launch this machine's processes for whatever machine 0 launches below `folder`, until
    `finished`.

    A launch that fails is machine 0's to report and to repeat: this goes on waiting for it.
    """
    log.info("machine %d: follows machine 0 in %s", rank, folder)
    done = ""
    while not finished():
        for path in _announcements(folder):
            launch = read_launch(path)
            if launch and launch.id != done:
                done = launch.id
                _run(path, launch, rank)
        time.sleep(_POLL_SECONDS)


def _announcements(folder: Path) -> list[Path]:
    # Not rglob, which stumbles over folders that go away meanwhile.
    return [Path(root, FILE) for root, _, files in os.walk(folder) if FILE in files]


def _run(path: Path, launch: Launch, rank: int) -> None:
    log.info("joining %s at %s:%d", launch.job, launch.address, launch.port)
    process = start(together(launch, rank), launch.resources, {})
    threading.Thread(target=_stop_when_over, args=(process, path, launch), daemon=True).start()
    try:
        follow(process)
    except OnPolicyError as error:
        log.warning("machine %d: %s", rank, error)


def _stop_when_over(process: Child, path: Path, launch: Launch) -> None:
    """End our processes when machine 0 has launched anew, or has nothing running any more."""
    withdrawn = 0.0
    while process.poll() is None and withdrawn < _GRACE_SECONDS:
        time.sleep(_POLL_SECONDS)
        now = read_launch(path)
        if now and now.id != launch.id:
            break
        withdrawn = 0.0 if now else withdrawn + _POLL_SECONDS
    if process.poll() is None:
        process.terminate()


def _main(arguments: list[str]) -> None:
    if len(arguments) != 2 or not arguments[1].isdigit():
        raise UserError("usage: python -m training.launch.follow_machine FOLDER MACHINE_RANK")
    folder = Path(arguments[0])
    join(folder, int(arguments[1]), lambda: read_manifest(folder) is not None)


if __name__ == "__main__":
    configure_logging()
    sys.exit(exit_code_of(lambda: _main(sys.argv[1:])))
