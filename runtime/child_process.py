"""Starting a process whose output is followed, and which ends when its starter does."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_CHECKOUT = Path(__file__).parents[1]

Child = subprocess.Popen[str]

BRIEF_SPIN = {"GOMP_SPINCOUNT": "5000"}
"""OpenMP's threads spin at a barrier for microseconds, then sleep; its default is milliseconds.

Where other processes want the cores too, spinning keeps the thread that is waited for from its
own: training became 3 times as fast, sampling 5 (benchmarks/RESULTS.md). A user's own setting wins.
"""


def start_child(command: Sequence[str], environment: Mapping[str, str]) -> Child:
    """Start `command` in a session of its own, output and errors as one stream of lines.

    It watches its standard input (`runtime.stage_process`): when this process dies, even by
    kill -9, the pipe closes, and the child ends with all of its own children. It sends no
    telemetry, and finds this checkout's modules from any working folder.
    """
    path = os.environ.get("PYTHONPATH")
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        bufsize=1,
        start_new_session=True,
        env={
            **BRIEF_SPIN,
            **os.environ,
            "ONPOLICY_PARENT": "stdin",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": f"{_CHECKOUT}{os.pathsep}{path}" if path else str(_CHECKOUT),
            "DO_NOT_TRACK": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **environment,
        },
    )
    threading.Thread(target=_end_group_of, args=(process.pid,), daemon=True).start()
    return process


def _end_group_of(pid: int) -> None:
    """When a child has ended, end what it left behind: that would hold the output open for ever."""
    # Not reaped here: its number stays taken until the group is gone.
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
