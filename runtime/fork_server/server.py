"""The server: `python -m runtime.fork_server.server SOCKET_FD MODULE...`, begun by `running`.

It has one thread and never computes, so that a fork of it is a whole process. Its standard input
tells it that its owner is gone; it then ends with all that it forked.
"""

import gc
import os
import selectors
import shutil
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import NoReturn

from runtime.fork_server import child
from runtime.fork_server.fitness import unfit
from runtime.fork_server.huge_pages import huge_places, make_huge
from runtime.fork_server.request import (
    Request,
    is_ours,
    receive_request,
    send_reply,
    starter_of,
)

# A starter writes its request in one go.
_READ_SECONDS = 10.0


@dataclass
class _Fork:
    """A process that was forked here, until it is reaped."""

    pid: int
    handle: int
    """Its pidfd, readable when it has ended."""
    connection: socket.socket
    """To its starter."""
    ended: bool = False
    left: bool = False
    """Whether the starter has hung up: it knows the exit code, or is gone."""


class _Forked(Exception):
    """This is the fork."""

    def __init__(self, request: Request, streams: list[int], starter: int) -> None:
        self.request, self.streams, self.starter = request, streams, starter


class Server:
    """Forks what is asked for, and follows it to its end."""

    def __init__(self, listener: socket.socket) -> None:
        self._environment = dict(os.environ)
        self._forks: list[_Fork] = []
        self._selector = selectors.DefaultSelector()
        self._watch(0, self._end)
        self._listener = listener
        listener.setblocking(False)

    @property
    def set_by_imports(self) -> dict[str, str]:
        """What the environment has now and had not at first."""
        return {k: v for k, v in os.environ.items() if k not in self._environment}

    def import_all(self, modules: Sequence[str]) -> None:
        """Import modules; what was asked for meanwhile is forked after each, whose imports are
        then whole. Ends are noted all the time.

        Raises:
            _Forked: in each fork.
        """
        attentive = _Attentive(lambda: self._attend(0))
        for module in modules:
            sys.meta_path.insert(0, attentive)
            gc.disable()  # as in runtime.gc_pause
            try:
                import_module(module)
            except Exception:  # whoever needs it will say so
                traceback.print_exc()
            finally:
                gc.enable()
                sys.meta_path.remove(attentive)
            self._take_all()

    def serve(self) -> NoReturn:
        """Fork on request until the owner is gone.

        Raises:
            _Forked: in each fork.
        """
        self._watch(self._listener.fileno(), self._take_all)
        for address, size in huge_places():
            make_huge(address, size)
            self._attend(0)
        while True:
            self._attend(None)

    def _watch(self, file: int, then: Callable[[], None]) -> None:
        self._selector.register(file, selectors.EVENT_READ, then)

    def _attend(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            if key.fd in self._selector.get_map():  # not forgotten just now
                key.data()

    def _take_all(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._take(self._listener.accept()[0])

    def _take(self, connection: socket.socket) -> None:
        connection.settimeout(_READ_SECONDS)
        try:
            if not is_ours(connection):
                raise ValueError("another user's")
            request, streams = receive_request(connection)
        except (OSError, ValueError):
            connection.close()
            return
        try:
            if reason := unfit(request, self._environment, os.environ):
                with suppress(OSError):
                    send_reply(connection, refused=reason)
                connection.close()
            else:
                self._fork(connection, request, streams)
        finally:
            for stream in streams:
                os.close(stream)

    def _fork(self, connection: socket.socket, request: Request, streams: list[int]) -> None:
        # A collection in the fork would write to every object that it shares with us, and so copy
        # all pages that they lie in.
        gc.freeze()
        starter = starter_of(connection)
        pid = os.fork()
        if not pid:
            self._forget_all(connection)
            raise _Forked(request, [os.dup(stream) for stream in streams], starter)
        fork = _Fork(pid, os.pidfd_open(pid), connection)
        self._forks.append(fork)
        self._watch(fork.handle, lambda: self._note_end(fork))
        self._watch(connection.fileno(), lambda: self._note_left(fork))
        with suppress(OSError):  # the starter is gone, which `_note_left` hears of
            send_reply(connection, pid=pid)

    def _note_end(self, fork: _Fork) -> None:
        """Tell the starter. The number stays taken until it has heard, so that no signal of its
        goes to a stranger."""
        self._selector.unregister(fork.handle)
        os.close(fork.handle)
        fork.ended = True
        result = os.waitid(os.P_PID, fork.pid, os.WEXITED | os.WNOWAIT)
        _kill_group(fork.pid)
        assert result is not None
        code = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        with suppress(OSError):
            send_reply(fork.connection, code=code)
        self._reap(fork)

    def _note_left(self, fork: _Fork) -> None:
        self._selector.unregister(fork.connection)
        fork.connection.close()
        fork.left = True
        if not fork.ended:
            _kill(fork.pid)
        self._reap(fork)

    def _reap(self, fork: _Fork) -> None:
        if fork.ended and fork.left:
            os.waitpid(fork.pid, 0)
            self._forks.remove(fork)

    def _forget_all(self, connection: socket.socket) -> None:
        """In a fork: close all that is the server's."""
        self._selector.close()
        self._listener.close()
        connection.close()
        for fork in self._forks:
            fork.connection.close()
            if not fork.ended:
                os.close(fork.handle)

    def _end(self) -> NoReturn:
        """The owner is gone."""
        for fork in self._forks:
            _kill(fork.pid)
        shutil.rmtree(Path(self._listener.getsockname()).parent, ignore_errors=True)
        os._exit(0)


class _Attentive(MetaPathFinder):
    """Finds nothing, and attends to something else at each module that is imported."""

    def __init__(self, attend: Callable[[], None]) -> None:
        self._attend = attend

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if threading.current_thread() is threading.main_thread():
            self._attend()


def _kill(pid: int) -> None:
    """By the group, and by its number where it had no time to make one."""
    _kill_group(pid)
    os.kill(pid, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _main(number: str, *modules: str) -> None:
    server = Server(socket.socket(fileno=int(number)))
    try:
        server.import_all(modules)
        server.serve()
    except _Forked as forked:
        set_by_imports = server.set_by_imports
        asked = forked
    child.show_as(asked.request, asked.starter)
    child.become(asked.request, asked.streams, set_by_imports)
    child.run(asked.request)


if __name__ == "__main__":
    _main(*sys.argv[1:])
