"""A folder's one writer: refused beside another, taken over from a dead one."""

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import CHECKOUT
from workshop import Workshop

from contracts.errors import FolderBusy
from contracts.steps import lock
from contracts.steps.lock import folder_lock
from contracts.tables.parts import part_paths, read_part

HOLDER = """
import sys, time
from pathlib import Path
from contracts.steps.lock import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("holding", flush=True)
    time.sleep(60)
"""


WRITER = """
import sys
from pathlib import Path
import pyarrow as pa
from contracts.tables.parts import write_part
from contracts.tables.schemas import METRICS
table = pa.table({"step": range(50_000), "name": ["loss"] * 50_000, "value": [0.5] * 50_000})
for index in range(100_000):
    write_part(Path(sys.argv[1]), index % 5, table.slice(index % 7), METRICS)
    if index == 0:
        print("writing", flush=True)
"""


def launch(program: str, folder: Path) -> "subprocess.Popen[str]":
    """Another real process, once it says that it is under way."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    )
    assert process.stdout and process.stdout.readline().strip() in ("holding", "writing")
    return process


def test_a_second_writer_is_refused_with_the_first_ones_name(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_LOCK_WAIT_SECONDS", 0.1)
    workshop.out.mkdir()
    holder = launch(HOLDER, workshop.out)
    try:
        with pytest.raises(FolderBusy, match=f"process {holder.pid} on .* is writing here") as busy:
            workshop.run()
    finally:
        holder.kill()
        holder.wait()
    assert busy.value.exit_code == 2
    assert workshop.runs == 0


@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.parametrize(("marker", "holder"), [
    ("4711\nnode-7\n", "process 4711 on node-7 runs no more"),
    ("", "it runs no more"),  # left by a flock elsewhere, and copied here
], ids=["killed on another host", "copied"])  # fmt: skip
def test_without_flock_a_lock_that_was_left_behind_is_told_with_how_to_clear_it(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, marker: str, holder: str
) -> None:
    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, "no flock")

    monkeypatch.setattr(fcntl, "flock", missing)
    monkeypatch.setattr(lock, "_LOCK_WAIT_SECONDS", 0.1)
    workshop.run()  # nobody in the way: it works without flock
    lock_file = workshop.out / ".lock"
    lock_file.write_text(marker)
    with pytest.raises(FolderBusy, match=f"no flock.* if .*{holder}, delete {lock_file} and run"):
        workshop.run()
    lock_file.unlink()
    workshop.run()


def test_a_killed_writers_folder_is_taken_over_with_a_message(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    workshop.out.mkdir()
    holder = launch(HOLDER, workshop.out)
    holder.kill()
    holder.wait()
    with caplog.at_level(logging.WARNING):
        workshop.run()
    assert f"taking over from process {holder.pid} on" in caplog.text
    assert workshop.runs == 1


def test_a_folder_is_free_again_after_its_writer_ended_well_or_badly(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), folder_lock(tmp_path):
        raise KeyboardInterrupt
    with folder_lock(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock-holder").read_text()
    assert not (tmp_path / ".lock-holder").exists()


@pytest.mark.parametrize("milliseconds", [0, 20, 50, 90, 140])
def test_a_part_of_a_writer_killed_at_any_moment_is_whole_or_absent(
    tmp_path: Path, milliseconds: int
) -> None:
    writer = launch(WRITER, tmp_path)
    try:
        writer.wait(milliseconds / 1000)
    except subprocess.TimeoutExpired:
        os.kill(writer.pid, signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    parts = part_paths(tmp_path)
    assert parts
    assert all(49_990 < read_part(part).num_rows <= 50_000 for part in parts)
