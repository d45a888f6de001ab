"""Child processes: followed to their end, and nothing of them is left."""

import os
import signal
import subprocess
import sys
import time

import pytest

from runtime.child_process import end_group_after, start_child

LEAVES_ONE_BEHIND = """
import subprocess, sys, time
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(left.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_killed_child_left_behind_ends_and_the_output_closes() -> None:
    child = start_child([sys.executable, "-c", LEAVES_ONE_BEHIND], {})
    assert child.stdout
    left = int(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    assert child.stdout.read() == ""  # until every holder of the pipe is gone
    assert child.wait(10) == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while is_running(left) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(left)


def test_what_a_child_left_behind_ends_also_where_the_child_was_reaped_before() -> None:
    program = LEAVES_ONE_BEHIND.replace("time.sleep(600)\n", "")
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdout and child.wait(30) == 0
    left = int(child.stdout.readline())
    assert is_running(left)
    end_group_after(child.pid)
    assert child.stdout.read() == ""  # until it is gone


def test_a_child_that_ends_well_gives_its_code_and_its_lines() -> None:
    child = start_child([sys.executable, "-c", "print('a'); print('b'); raise SystemExit(3)"], {})
    assert child.stdout and child.stdout.read().split() == ["a", "b"]
    assert child.wait(10) == 3


def test_the_environment_says_to_phone_nobody() -> None:
    show = "import os; print(os.environ['DO_NOT_TRACK'], os.environ['X'])"
    child = start_child([sys.executable, "-c", show], {"X": "mine"})
    assert child.stdout and child.stdout.read().split() == ["1", "mine"]


@pytest.mark.parametrize(("mine", "seen"), [(None, "5000"), ("7", "7")])
def test_openmp_barely_spins_unless_the_user_says_so(
    monkeypatch: pytest.MonkeyPatch, mine: str | None, seen: str
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if mine:
        monkeypatch.setenv("GOMP_SPINCOUNT", mine)
    show = "import os; print(os.environ['GOMP_SPINCOUNT'])"
    child = start_child([sys.executable, "-c", show], {})
    assert child.stdout and child.stdout.read().strip() == seen
