"""A stage as a process: its exit code, its one message, its progress, its end with its parent."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import CHECKOUT

from contracts.errors import OnPolicyError, UserError
from runtime.progress import Progress
from runtime.stage_process import describe, exit_code, fail, parse_error

STAGE = """
import os, resource, subprocess, sys, time
from pathlib import Path
from contracts.config.base import Config
from contracts.errors import OnPolicyError
from contracts.steps.manifest import Result
from contracts.tables.parts import write_atomic
from runtime.stage_process import main
from runtime import progress
from runtime.progress import Progress
from contracts.steps.inputs import Inputs
from contracts.steps.step import Stage

class Settings(Config):
    do: str = "work"
    times: int = 3

def run(config, inputs, out):
    if config.do == "break":
        raise OnPolicyError("the engine broke")
    if config.do == "stumble":
        return 1 / 0
    if config.do == "fill":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        write_atomic(out / "big.bin", bytes(100_000))
    if config.do == "sleep":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print("children", os.getpid(), child.pid, flush=True)
        time.sleep(60)
    progress = Progress(config.times, "rows")
    for _ in range(config.times):
        progress.advance(note="loss 0.5")
    write_atomic(out / "rows.txt", b"rows")
    return Result(rows=config.times)

STAGE = Stage("tiny_stage", 1, Settings, Inputs, "rows.txt", run)
if __name__ == "__main__":
    main(STAGE)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny_stage.py").write_text(STAGE)
    out = tmp_path / "out"
    out.mkdir()
    return out


def step_file(folder: Path, **config: object) -> Path:
    """A step file as the flow writes it, before anything has run."""
    settings = {"do": "work", "times": 3, **config}
    step = {
        "stage": "tiny_stage",
        "version": 1,
        "identity": {"config": settings, "inputs": {}},
        "config": settings,
        "inputs": {},
    }
    path = folder / "_step.json"
    path.write_text(json.dumps(step))
    return path


def start(folder: Path, *arguments: object, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tiny_stage", *map(str, arguments)],
        cwd=folder.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={
            **os.environ, "PYTHONPATH": str(CHECKOUT), "ONPOLICY_PARENT": "stdin", **environment
        },
    )  # fmt: skip


def end_of(process: "subprocess.Popen[str]") -> tuple[int, str | None, str]:
    """Exit code, the error that was told to the parent, and everything on standard error."""
    held, process.stdin = process.stdin, None  # closed, it would say that the parent is gone
    output, errors = process.communicate(timeout=60)
    if held:
        held.close()
    told = [message for line in output.splitlines() if (message := parse_error(line))]
    return process.returncode, (told[-1] if told else None), errors


def test_a_stage_that_finished_exits_with_zero_and_leaves_its_manifest(folder: Path) -> None:
    code, error, log = end_of(start(folder, step_file(folder)))
    assert (code, error) == (0, None)
    assert "rows in" not in log, "whoever follows it tells that"
    assert (folder / "_manifest.json").exists()
    assert end_of(start(folder, folder / "_step.json"))[0] == 0  # done already: nothing to do


def test_a_users_mistake_exits_with_two_and_one_message(folder: Path) -> None:
    code, error, log = end_of(start(folder, step_file(folder, tims=3)))
    assert code == 2
    assert error and "unknown key 'tims' (did you mean 'times'?)" in error
    assert "Traceback" not in log
    code, error, _ = end_of(start(folder, folder / "nowhere.json"))
    assert (code, error) == (2, f"{folder}/nowhere.json: no such step file")
    code, error, _ = end_of(start(folder))
    assert code == 2 and error and error.startswith("usage: python -m ")


def test_a_stage_that_nobody_follows_tells_its_error_in_plain_words(folder: Path) -> None:
    stage = start(folder, step_file(folder, do="break"), ONPOLICY_PARENT="")
    output, errors = stage.communicate(timeout=60)
    assert (output, errors.splitlines()[-1]) == ("", "the engine broke")
    _, errors = start(folder, ONPOLICY_PARENT="").communicate(timeout=60)
    assert errors == "usage: python -m tiny_stage STEP.json\n"


def test_a_failure_exits_with_one_and_one_message(folder: Path) -> None:
    code, error, log = end_of(start(folder, step_file(folder, do="break")))
    assert (code, error) == (1, "the engine broke")
    assert "Traceback" not in log
    assert not (folder / "_manifest.json").exists()


def test_an_unforeseen_failure_has_a_traceback_only_where_one_was_asked_for(folder: Path) -> None:
    code, error, log = end_of(start(folder, step_file(folder, do="stumble")))
    assert (code, error) == (1, "ZeroDivisionError: division by zero (--debug shows the traceback)")
    assert "Traceback" not in log
    code, _, log = end_of(start(folder, folder / "_step.json", ONPOLICY_DEBUG="1"))
    assert code == 1 and "Traceback" in log and "1 / 0" in log


def test_a_write_that_the_system_refuses_names_the_file_and_leaves_none(folder: Path) -> None:
    code, error, _ = end_of(start(folder, step_file(folder, do="fill")))
    assert code == 1
    assert error and "File too large" in error and f"{folder}/big.bin" in error
    assert not list(folder.glob("*.bin")) and not list(folder.glob(".tmp-*"))


def is_alive(process_id: int) -> bool:
    """Whether a process runs; one that ended but was not yet waited for does not."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state != "Z"


PARENT = """
import os, subprocess, sys
stage = subprocess.Popen(
    [sys.executable, "-m", "tiny_stage", sys.argv[1]],
    stdin=subprocess.PIPE,
    start_new_session=True,
    env={**os.environ, "ONPOLICY_PARENT": "stdin"},
)
stage.wait()
"""


def test_a_stage_and_its_children_end_when_their_parent_is_killed(folder: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(step_file(folder, do="sleep"))],
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    assert parent.stdout
    mark, *process_ids = parent.stdout.readline().split()
    assert mark == "children"
    assert all(is_alive(int(process_id)) for process_id in process_ids)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(is_alive(int(process_id)) for process_id in process_ids):
        assert time.monotonic() < deadline, "the stage outlived its parent"
        time.sleep(0.02)


def test_an_interrupted_stage_says_how_to_go_on(folder: Path) -> None:
    stage = start(folder, step_file(folder, do="sleep"))
    assert stage.stdout and stage.stdout.readline().startswith("children")
    os.killpg(stage.pid, signal.SIGINT)
    code, error, log = end_of(stage)
    assert (code, error) == (1, "interrupted; run the same command again to go on")
    assert "tiny_stage" not in log


@pytest.mark.parametrize("line", ["", "plain log", "::error", '::error "the engine bro'])
def test_a_line_that_is_no_error_or_a_torn_one_is_plain_log(line: str) -> None:
    assert parse_error(line) is None


def test_errors_of_ours_are_told_as_they_are_and_others_with_their_kind() -> None:
    assert describe(UserError("run.yaml: no such file")) == "run.yaml: no such file"
    assert describe(OnPolicyError("two\nlines")) == "two\nlines"
    assert describe(ValueError("bad\nvalue")) == "ValueError: bad (--debug shows the traceback)"
    assert describe(ValueError()) == "ValueError (--debug shows the traceback)"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_file_that_is_not_the_users_is_told_in_words_as_their_mistake(number: int) -> None:
    error = OSError(number, os.strerror(number), "runs/demo/report.html")
    assert exit_code(error) == 2
    assert describe(error) == (
        f"runs/demo/report.html: cannot be read or written ({os.strerror(number)}); "
        "make it yours, or name a folder of your own"
    )
    hidden = OSError(number, os.strerror(number), "runs/demo/.lock")
    assert describe(hidden).startswith("runs/demo: cannot be read or written")


def test_of_two_files_the_copy_is_named() -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "source.bin", None, "copy.bin")
    assert describe(error).startswith("the disk is full (copy.bin); free some space")
    assert exit_code(error) == 1


class Recorder(io.StringIO):
    """Notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)


def test_a_line_is_one_write_so_that_processes_may_share_a_pipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(sys, "stdout", recorder)
    monkeypatch.setenv("ONPOLICY_PARENT", "stdin")
    fail("the engine broke", 1)
    Progress(total=1, unit="rows")
    assert [text.endswith("\n") for text in recorder.writes] == [True, True]
