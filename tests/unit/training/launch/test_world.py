"""The processes of one machine: where one fails, all end."""

import os
import signal
from pathlib import Path

import pytest
from process_tree import gone

from runtime.fork_server import running
from runtime.module_process import start_module

PROGRAM = """
import os, signal, sys, time
place = [os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")]
sys.stdout.write(f"pid {os.getpid()}\\nplace {place} {sys.argv[1:]}\\n")
if os.environ["RANK"] == "0":
    time.sleep(SECONDS)
END
"""


@pytest.fixture(params=["forked", "by themselves"])
def how(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that may import from `tmp_path`."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("ONPOLICY_FORK", "1" if request.param == "forked" else "0")
    monkeypatch.setenv(running.VARIABLE, "")
    running.ensure_server([])
    assert bool(os.environ[running.VARIABLE]) == (request.param == "forked")


@pytest.mark.usefixtures("how")
@pytest.mark.parametrize(("end", "code", "said"), [
    ("sys.exit(2)", 2, ""),
    ("os.kill(os.getpid(), signal.SIGKILL)", 1, "a training process was killed by SIGKILL"),
    ("", 0, ""),
])  # fmt: skip
def test_where_one_fails_all_end_with_its_code(
    tmp_path: Path, end: str, code: int, said: str
) -> None:
    program = PROGRAM.replace("SECONDS", "600" if code else "0").replace("END", end)
    (tmp_path / "tiny_trainer.py").write_text(program)
    world = start_module("training.launch.world", ["tiny_trainer", "job.json", "2"], {})
    assert world.stdout
    lines = world.stdout.read().splitlines()  # until every holder of the pipe is gone
    assert world.wait(10) == code
    assert said in lines[-1]
    places = [line for line in lines if line.startswith("place")]
    assert code or sorted(places) == [
        f"place {[str(rank), str(rank), '2']} ['job.json']" for rank in range(2)
    ]
    assert gone(*(int(line[4:]) for line in lines if line.startswith("pid")))


@pytest.mark.usefixtures("how")
def test_when_the_starter_hangs_up_all_end(tmp_path: Path) -> None:
    (tmp_path / "tiny_trainer.py").write_text(
        "import os, time\nfrom runtime.stage_process import exit_code_of\n"
        "exit_code_of(lambda: (os.write(1, b'%d\\n' % os.getpid()), time.sleep(600)))"
    )
    world = start_module("training.launch.world", ["tiny_trainer", "job.json", "2"], {})
    assert world.stdin and world.stdout
    pids = [int(world.stdout.readline()) for _ in range(2)]
    world.stdin.close()
    assert world.stdout.read() == ""
    assert world.wait(10) == -signal.SIGKILL
    assert gone(*pids)
