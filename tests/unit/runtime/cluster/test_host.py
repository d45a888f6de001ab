"""A process on a node, without Ray around it."""

import signal
from pathlib import Path
from typing import Any

import pytest

from runtime.cluster.host import Host
from runtime.cluster.needs import needs_of

PROGRAM = """
import os, sys, time
print(os.environ["RANK"], os.getcwd(), sys.argv[1], flush=True)
print("error", file=sys.stderr, flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(2)
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose process may import from `tmp_path`."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("ONPOLICY_FORK", "0")
    monkeypatch.chdir("/")
    (tmp_path / "tiny_trainer.py").write_text(PROGRAM)
    return Host()


def needs_in(folder: Path) -> dict[str, Any]:
    """Nothing, where machine 0 is in that folder."""
    return needs_of([], []) | {"folder": str(folder)}


def heard(host: Host, lines: int) -> tuple[list[str], int | None]:
    """What a host's process has said, as soon as that is so many lines, or its end."""
    said: list[str] = []
    code = None
    while code is None and len(said) < lines:
        more, code = host.receive()
        said += more
    return said, code


def test_what_a_process_prints_and_how_it_ends_is_passed_on(host: Host, tmp_path: Path) -> None:
    host.start("tiny_trainer", ["0"], {"RANK": "3"}, needs_in(tmp_path))
    assert heard(host, 99) == ([f"3 {tmp_path} 0\n", "error\n"], 2)


def test_a_process_that_is_killed_ends_as_killed_and_none_may_be_there(
    host: Host, tmp_path: Path
) -> None:
    host.kill()  # the group ends before it has begun
    host.start("tiny_trainer", ["600"], {"RANK": "0"}, needs_in(tmp_path / "not there"))
    assert heard(host, 2) == (["0 / 600\n", "error\n"], None)
    host.kill()
    assert heard(host, 1) == ([], -signal.SIGKILL)
    assert 0 < host.free_port() < 1 << 16
