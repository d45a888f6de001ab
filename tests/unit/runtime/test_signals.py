"""Ctrl-C and SIGTERM in a command's first moments: one line, a code of its own, nothing left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import CHECKOUT


def hears_sigterm(process: subprocess.Popen) -> bool:
    """Whether it has a handler of its own for SIGTERM, which Python has not."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def start(command: list[str]) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", *command],
        cwd=CHECKOUT, env=dict(os.environ), text=True, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not hears_sigterm(process) and time.monotonic() < deadline:
        time.sleep(0.002)
    return process


@pytest.mark.parametrize(("number", "code", "said"), [
    (signal.SIGINT, 130, "onpolicy: interrupted\n"),
    (signal.SIGTERM, 143, "onpolicy: stopped by SIGTERM\n"),
])  # fmt: skip
def test_a_signal_while_the_command_is_still_importing_ends_it_with_one_line(
    tmp_path: Path, number: signal.Signals, code: int, said: str
) -> None:
    process = start(["run", "configs/demo.yaml", f"runs_dir={tmp_path}"])
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (code, said)


def test_a_command_that_was_told_to_ignore_ctrl_c_does(tmp_path: Path) -> None:
    script = "import signal, os; from runtime.signals import end_at_once\n" \
        "signal.signal(signal.SIGINT, signal.SIG_IGN); end_at_once()\n" \
        "os.kill(os.getpid(), signal.SIGINT)"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, check=False).returncode == 0
