"""The processes of one machine's training: `python -m training.launch.world MODULE JOB PROCESSES`.

They meet in the file that ONPOLICY_STORE names. As under accelerate's launcher, one that fails
ends the others; unlike its processes, ours are forked where there is a fork server.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence

from contracts.errors import OnPolicyError
from runtime.child_process import Child
from runtime.module_process import start_attached
from runtime.stage_process import exit_code_of

_POLL_SECONDS = 0.02


def _run(module: str, job: str, processes: int) -> None:
    """Run them to their end; where one fails, end here with its exit code: it has said why.

    Raises:
        OnPolicyError: one was killed.
    """
    # All watch the pipe of whoever started us.
    running = [
        start_attached(module, [job], _place(rank, processes), stdin=0) for rank in range(processes)
    ]
    try:
        code = _first_failure(running)
    finally:
        for child in running:
            child.kill()
            child.wait()
    if code < 0:
        raise OnPolicyError(f"a training process was killed by {signal.Signals(-code).name}")
    if code:
        os._exit(code)


def _first_failure(running: Sequence[Child]) -> int:
    """The exit code of the first that fails; 0 once all have ended well."""
    while True:
        codes = [child.poll() for child in running]
        if failed := next(filter(None, codes), 0):
            return failed
        if None not in codes:
            return 0
        time.sleep(_POLL_SECONDS)


def _place(rank: int, processes: int) -> dict[str, str]:
    """What torch and accelerate read of a process's place among the others."""
    count = str(processes)
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank),
        "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count,
        # Asked for, and never used: the processes have met already.
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1",
    }  # fmt: skip


if __name__ == "__main__":
    os._exit(exit_code_of(lambda: _run(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
