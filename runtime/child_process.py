"""Starting a process whose output is followed, and which ends when its starter does."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

_CHECKOUT = Path(__file__).parents[1]

BRIEF_SPIN = {"GOMP_SPINCOUNT": "5000"}
"""OpenMP's threads spin at a barrier for microseconds, then sleep; its default is milliseconds.

Where other processes want the cores too, spinning keeps the thread that is waited for from its
own: training became 3 times as fast, sampling 5 (benchmarks/RESULTS.md). A user's own setting wins.
"""


class Child(Protocol):
    """A process that was started here: `subprocess.Popen`'s interface, as far as it is used."""

    def __hash__(self) -> int:
        """By identity."""

    @property
    def pid(self) -> int:
        """Its number, and that of its group and session."""

    @property
    def stdin(self) -> IO[str] | None:
        """A pipe whose end tells the child that we are gone; a stage that was begun ahead is told
        its step there."""

    @property
    def stdout(self) -> IO[str] | None:
        """Its output and errors, as lines."""

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit code, or minus the number of the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """

    def terminate(self) -> None:
        """SIGTERM."""

    def kill(self) -> None:
        """SIGKILL."""


def environment_with(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: ours, with what each child gets, with `more`.

    It watches its standard input (`runtime.stage_process`), sends no telemetry, and finds this
    checkout's modules from any working folder. The libraries' own bars would fill a log with half
    lines; ours is enough.
    """
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    rest = [folder for folder in path if folder and folder != str(_CHECKOUT)]
    return {
        # Before the environment: a user's own setting wins. What follows it always holds.
        **BRIEF_SPIN,
        **os.environ,
        "ONPOLICY_PARENT": "stdin",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(_CHECKOUT), *rest]),
        "DO_NOT_TRACK": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        **more,
    }


def start_child(command: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    """Start `command` in a session of its own, output and errors as one stream of lines.

    When this process dies, even by kill -9, the pipe closes, and the child ends with all of its
    own children.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        bufsize=1,
        start_new_session=True,
        env=environment_with(environment),
    )
    end_group_after(process.pid)
    return process


def end_group_after(pid: int) -> None:
    """When a child of ours has ended, end what it left behind: that would hold its output open
    for ever."""
    threading.Thread(target=_end_group_of, args=(pid,), daemon=True).start()


def _end_group_of(pid: int) -> None:
    # Not reaped here: its number stays taken until the group is gone. Where `wait` was quicker, the
    # group keeps the number while it has members, and without any it is given out again only
    # after all the others, not in the moment until we are here.
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
