"""What a starter and the fork server say to each other: JSON over a private socket, and file
descriptors. Nothing in it is unpickled."""

import json
import os
import socket
import struct
from dataclasses import asdict, dataclass, field

_LENGTH = struct.Struct("!I")
# Linux's `struct ucred`: process, user and group (unix(7)).
_PEER = struct.Struct("3i")
_STREAMS = 3
# Far above any environment, far below the 4 GiB that a broken length may ask for.
_LONGEST = 64 << 20


@dataclass(frozen=True)
class Request:
    """`python -m MODULE ARGUMENTS`, asked for."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    """All of it."""
    executable: str
    folder: str = field(default_factory=os.getcwd)
    """Where it works."""


def send_request(connection: socket.socket, request: Request, streams: tuple[int, ...]) -> None:
    """Ask for a process with `streams` as standard input, output and errors."""
    message = json.dumps(asdict(request)).encode()
    socket.send_fds(connection, [_LENGTH.pack(len(message))], list(streams))
    connection.sendall(message)


def receive_request(connection: socket.socket) -> tuple[Request, list[int]]:
    """What was asked for, and its streams, which are the caller's to close.

    Raises:
        OSError, ValueError: it is no request.
    """
    header, streams, _, _ = socket.recv_fds(connection, _LENGTH.size, _STREAMS)
    try:
        (length,) = _LENGTH.unpack(header)
        message = _exactly(connection, length)
        if len(streams) != _STREAMS:
            raise ValueError("a request has three streams")
        return Request(**json.loads(message)), streams
    except Exception as error:
        for stream in streams:
            os.close(stream)
        raise ValueError("no request") from error


def send_reply(connection: socket.socket, **reply: int | str) -> None:
    """Answer in one line: `pid`, or `refused` with the reason; in the end `code`."""
    connection.sendall((json.dumps(reply) + "\n").encode())


def is_ours(connection: socket.socket) -> bool:
    """Whether this user's process is at the other end."""
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return bool(_PEER.unpack(peer)[1] == os.geteuid())


def starter_of(connection: socket.socket) -> int:
    """The number of the process at the other end."""
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(peer)[0])


def _exactly(connection: socket.socket, length: int) -> bytes:
    if length > _LONGEST:
        raise ValueError("a request is no longer than 64 MiB")
    message = bytearray()
    while len(message) < length:
        if not (more := connection.recv(length - len(message))):
            raise EOFError
        message += more
    return bytes(message)
