"""Forked processes: they look like started ones, and nothing of them or of their server stays."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from checkout import CHECKOUT
from process_tree import gone

from runtime.child_process import Child
from runtime.fork_server import running
from runtime.fork_server.forked import ForkedChild
from runtime.fork_server.huge_pages import huge_places, make_huge
from runtime.module_process import start_attached, start_module

PROGRAM = "forked_program"
OWNER = """
import os, sys, time
from runtime.fork_server.running import VARIABLE, ensure_server
from runtime.module_process import start_module
ensure_server([])
child = start_module("forked_program", [], {})
print(os.environ[VARIABLE], child.pid, child.stdout.readline().strip(), flush=True)
time.sleep(600)
"""
NOBODY = """
import os, socket, sys
os.setuid(65534)
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
print("closed:", connection.recv(1))
"""

Start = Callable[..., Child]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path of this process and of its server."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def server(programs: Path) -> Iterator[psutil.Process]:
    """A server that has imported json, and a module that sets a variable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(programs))
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # programs of one second look alike
        patch.setenv("FROM_THE_SERVER", "1")
        patch.setenv(running.VARIABLE, "")
        patch.delenv("ONPOLICY_FORK", raising=False)
        begun = list[tuple]()
        patch.setattr(running.atexit, "register", lambda *end: begun.append(end))
        before = {child.pid for child in psutil.Process().children()}
        (programs / "settling.py").write_text("import os; os.environ['TORCH_SETTING'] = '1'")
        running.ensure_server(["json", "settling"])
        patch.delenv("FROM_THE_SERVER")
        (new,) = [child for child in psutil.Process().children() if child.pid not in before]
        yield new
        end, *arguments = begun[0]
        end(*arguments)
        assert not new.is_running()


@pytest.fixture
def start(server: psutil.Process, programs: Path) -> Start:
    """Starts a program that is forked, with the arguments and environment given."""

    def begin(program: str, *arguments: str, **environment: str) -> Child:
        path, text = programs / f"{PROGRAM}.py", textwrap.dedent(program)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        child = start_module(PROGRAM, arguments, environment)
        assert isinstance(child, ForkedChild)
        return child

    return begin


def output_of(child: Child) -> str:
    assert child.stdout
    return child.stdout.read()


@pytest.mark.parametrize(("end", "code"), [
    ("", 0),
    ("sys.exit(3)", 3),
    ("sys.exit('a word')", 1),
    ("os._exit(7)", 7),
    ("1 / 0", 1),
    ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    ("raise KeyboardInterrupt", -signal.SIGINT),
])  # fmt: skip
def test_a_fork_ends_with_the_code_that_python_would_give(
    start: Start, end: str, code: int
) -> None:
    child = start(f"import os, signal, sys\n{end}")
    output = output_of(child)
    assert child.wait(10) == child.poll() == code
    assert ("Traceback" in output) == (end in ("1 / 0", "raise KeyboardInterrupt"))
    assert ("a word" in output) == ("a word" in end)


def test_a_fork_has_arguments_environment_folder_and_name_of_its_own(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    child = start(
        """
        import atexit, os, sys
        atexit.register(print, "the end")
        print(__name__, sys.argv[1:], os.path.basename(sys.argv[0]), os.getcwd(), sys.path[0])
        print(os.environ["MINE"], "FROM_THE_SERVER" in os.environ, os.environ["DO_NOT_TRACK"])
        print(os.getpid() == os.getsid(0) == os.getpgid(0), "json" in sys.modules)
        """,
        "one", "two three", MINE="a secret",
    )  # fmt: skip
    assert output_of(child).splitlines() == [
        f"__main__ ['one', 'two three'] {PROGRAM}.py {tmp_path} {tmp_path}",
        "a secret False 1",
        "True True",
        "the end",
    ]


def test_a_fork_has_what_imports_put_into_the_environment_and_hands_it_on(start: Start) -> None:
    child = start("""
        import os
        from runtime.module_process import start_module
        child = start_module("this", [], {})
        print(os.environ["TORCH_SETTING"], type(child).__name__)
    """)
    assert output_of(child) == "1 ForkedChild\n"


def test_memory_is_the_same_in_huge_pages() -> None:
    kept = bytes(range(256)) * (1 << 16)
    places = dict(huge_places())
    assert places, "16 MiB have room for some"
    for address, size in places.items():
        assert address % size == 0
        make_huge(address, size)
    assert kept == bytes(range(256)) * (1 << 16)


def test_output_and_errors_come_in_order_and_are_not_the_servers(start: Start) -> None:
    child = start("""
        import sys
        for number in range(200):
            print(number, file=(sys.stdout, sys.stderr)[number % 2])
    """)
    assert output_of(child).split() == [str(number) for number in range(200)]


def test_forks_draw_different_numbers_and_names(start: Start) -> None:
    program = """
        import random, tempfile
        print(random.random(), next(tempfile._get_candidate_names()))
    """
    drawn = [output_of(start(program)).split() for _ in range(2)]
    assert not set(drawn[0]) & set(drawn[1])


def test_twenty_at_once_leave_no_zombie_and_no_open_file(
    start: Start, server: psutil.Process
) -> None:
    start("").wait(10)
    opened, ours = server.num_fds(), psutil.Process().num_fds()
    fds = "import os; print(len(os.listdir('/proc/self/fd')))"
    children = [start(f"{fds}; import time; time.sleep(0.3)") for _ in range(20)]
    assert len({output_of(child) for child in children}) == 1  # none has another's files
    assert [child.wait(10) for child in children] == [0] * 20
    assert gone(*(child.pid for child in children))
    for child in children:
        assert child.stdin and child.stdout
        child.stdin.close()
        child.stdout.close()
    assert server.num_fds() <= opened and not server.children()
    assert psutil.Process().num_fds() <= ours


def test_a_signal_ends_a_fork_and_what_it_left_behind(start: Start) -> None:
    child = start("""
        import subprocess, sys, time
        print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)
        time.sleep(600)
    """)
    assert child.stdout
    left = int(child.stdout.readline())
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.05)
    child.terminate()
    assert child.wait(10) == -signal.SIGTERM
    assert child.stdout.read() == ""  # until every holder of the pipe is gone
    assert gone(child.pid, left)
    child.kill()  # of one that has ended: nothing


def test_a_fork_may_talk_over_its_standard_input_in_our_own_output(
    server: psutil.Process, programs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (programs / f"{PROGRAM}.py").write_text("import os; print('hers'); os.write(0, b'hello')")
    ours, theirs = socket.socketpair()
    child = start_attached(PROGRAM, [], {}, theirs.fileno())
    theirs.close()
    assert isinstance(child, ForkedChild) and child.wait(10) == 0
    assert (ours.recv(9), ours.recv(9)) == (b"hello", b"")
    assert capfd.readouterr().out == "hers\n"


@pytest.mark.parametrize(("name", "value"), [
    ("HF_HUB_OFFLINE", "1"), ("PYTHONPATH", "/elsewhere"), ("ONPOLICY_FORK", "0"),
])  # fmt: skip
def test_what_would_import_otherwise_is_a_process_of_its_own(
    server: psutil.Process, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    child = start_module("this", [], {})
    assert isinstance(child, subprocess.Popen)
    assert "Zen of Python" in output_of(child)
    assert child.wait(10) == 0


def test_another_user_is_not_served(server: psutil.Process, start: Start) -> None:
    if os.geteuid():
        pytest.skip("only root can be somebody else")
    path = Path(os.environ[running.VARIABLE])
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.parent.chmod(0o711)
    path.chmod(0o777)
    ran = subprocess.run([sys.executable, "-c", NOBODY, path], text=True, capture_output=True)
    path.parent.chmod(0o700)
    assert ran.stdout == "closed: b''\n", ran.stderr
    assert output_of(start("print('served')")) == "served\n"


def test_a_process_that_says_nonsense_harms_nobody(server: psutil.Process, start: Start) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[running.VARIABLE])
        connection.sendall(b"\0\0\0\5hello")
        assert connection.recv(1) == b""
    assert output_of(start("print('served')")) == "served\n"


def owner(tmp_path: Path) -> tuple["subprocess.Popen[str]", Path, list[int]]:
    """A process with a server of its own; its socket; server, fork and what the fork started."""
    (tmp_path / f"{PROGRAM}.py").write_text(
        "import subprocess, time\n"
        "print(subprocess.Popen(['sleep', '600']).pid, flush=True)\n"
        "time.sleep(600)"
    )
    environment = {**os.environ, running.VARIABLE: "", "PYTHONPATH": f"{CHECKOUT}:{tmp_path}"}
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    path, *pids = process.stdout.readline().split()
    (server,) = psutil.Process(process.pid).children()
    return process, Path(path), [server.pid, *map(int, pids)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_when_its_owner_dies_a_server_ends_its_forks_and_removes_its_folder(
    tmp_path: Path, number: signal.Signals
) -> None:
    process, path, pids = owner(tmp_path)
    process.send_signal(number)
    process.communicate()
    assert gone(*pids)
    assert not path.parent.exists()


def test_when_a_server_dies_its_forks_count_as_killed_and_processes_start_by_themselves(
    server: psutil.Process, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv(running.VARIABLE, "")
        ends = list[tuple]()
        patch.setattr(running.atexit, "register", lambda *end: ends.append(end))
        running.ensure_server([])
        (programs / f"{PROGRAM}.py").write_text("import time; print(1); time.sleep(600)")
        child = start_module(PROGRAM, [], {})
        assert isinstance(child, ForkedChild) and child.stdout
        child.stdout.readline()
        ends[0][2].kill()
        assert child.wait(10) == -signal.SIGKILL
        assert child.stdout.read() == ""
        child = start_module("this", [], {})
        assert isinstance(child, subprocess.Popen) and "Zen" in output_of(child)
        assert running.VARIABLE not in os.environ
        ends[0][0](*ends[0][1:])
