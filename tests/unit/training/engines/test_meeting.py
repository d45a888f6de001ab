"""Two real processes, one of which works alone for longer than the group's timeout."""

import subprocess
import sys
from pathlib import Path

import pytest
from checkout import CHECKOUT

SCRIPT = """
import os, sys, time
from datetime import timedelta
import torch.distributed as dist
from training.engines.meeting import PatientMeetings
child = os.fork()
rank = 0 if child else 1
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/store", rank=rank,
                        world_size=2, timeout=timedelta(seconds=1))
meetings = PatientMeetings(2)
wait = meetings.wait if sys.argv[2] == "patient" else dist.barrier
for _ in range(2):
    if rank == 0:
        time.sleep(2)  # writes a checkpoint
    try:
        wait()
    except Exception as error:
        print(type(error).__name__, flush=True)
        os._exit(1)
if rank == 0:
    os._exit(os.waitpid(child, 0)[1] != 0)
os._exit(0)
"""


@pytest.mark.parametrize(("how", "code"), [("patient", 0), ("barrier", 1)])
def test_who_writes_for_longer_than_the_timeout_is_waited_for_at_the_store(
    tmp_path: Path, how: str, code: int
) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), how]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
