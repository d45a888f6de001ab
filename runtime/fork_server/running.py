"""The fork server of this process, and of those it starts: begun, found, asked."""

import atexit
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from runtime.child_process import environment_with
from runtime.fork_server.fitness import can_fork
from runtime.fork_server.forked import ForkedChild
from runtime.fork_server.request import Request, is_ours, send_request

log = logging.getLogger(__name__)

VARIABLE = "ONPOLICY_FORK_SERVER"
"""Names the server's socket, for this process and for those it starts."""

# Processes that may be asked for while the server imports.
_WAITING = 128


def ensure_server(modules: Sequence[str]) -> None:
    """Begin a server that imports `modules`, while this process goes on; it lives as long.

    Nothing where there is one already, or where nothing is to be forked.
    """
    if os.environ.get(VARIABLE) or not can_fork():
        return
    folder = Path(tempfile.mkdtemp(prefix="onpolicy-fork-"))  # of mode 0700
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX) as listener, (folder / "log").open("w") as output:
        listener.bind(str(path))
        listener.listen(_WAITING)
        number = str(listener.fileno())
        server = subprocess.Popen(
            [sys.executable, "-m", "runtime.fork_server.server", number, *modules],
            stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
            pass_fds=(listener.fileno(),), env=environment_with({}),
        )  # fmt: skip
    os.environ[VARIABLE] = str(path)
    atexit.register(_end, os.getpid(), server, folder)


def _end(owner: int, server: "subprocess.Popen[bytes]", folder: Path) -> None:
    """At the owner's end. Where that is a sudden one, the server sees it and cleans up itself."""
    if os.getpid() == owner and server.stdin:
        server.stdin.close()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def fork(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    streams: tuple[int, int, int],
    pipes: tuple[IO[str] | None, IO[str] | None],
) -> ForkedChild | None:
    """A fork that runs `python -m module`; None where there is no server, or it may not be one.

    Args:
        environment: all of it.
        streams: the child's standard input, output and errors.
        pipes: our ends of the first two.
    """
    path = os.environ.get(VARIABLE)
    if not path or not can_fork():
        return None
    request = Request(module, list(arguments), dict(environment), sys.executable)
    try:
        connection, replies, answer = _ask(path, request, streams)
    except (OSError, ValueError) as error:
        log.warning("no fork server at %s any more (%s): processes start by themselves",
                    path, error)  # fmt: skip
        os.environ.pop(VARIABLE, None)
        return None
    if "pid" in answer:
        return ForkedChild(answer["pid"], connection, replies, *pipes)
    replies.close()
    connection.close()
    log.debug("%s is not forked: %s", module, answer)
    return None


def _ask(
    path: str, request: Request, streams: tuple[int, int, int]
) -> tuple[socket.socket, IO[bytes], dict[str, Any]]:
    """The connection, what it brings, and the first of that.

    Raises:
        OSError, ValueError: nobody is there.
    """
    with ExitStack() as closed_on_error:
        connection = closed_on_error.enter_context(socket.socket(socket.AF_UNIX))
        connection.connect(path)
        if not is_ours(connection):
            raise PermissionError("another user's")
        send_request(connection, request, streams)
        replies = closed_on_error.enter_context(connection.makefile("rb"))
        answer = json.loads(replies.readline())
        closed_on_error.pop_all()
    return connection, replies, answer
