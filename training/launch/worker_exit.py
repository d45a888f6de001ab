"""The frame of a worker process that accelerate starts."""

import os
import sys
from collections.abc import Callable

from contracts.errors import UserError
from runtime.stage_process import configure_logging, exit_code_of
from runtime.stdout import print_line
from training.launch.output import MISTAKE_MARK


def run_worker(work: Callable[[], None]) -> None:
    """Do the work and exit; a refusal is marked, since its exit code ends at the launcher."""
    configure_logging()
    code = exit_code_of(work)
    if code == UserError.exit_code:
        print_line(MISTAKE_MARK)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: taking torch and the process group apart costs 2 s a process.
    os._exit(code)
