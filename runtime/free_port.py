"""A port for a server that is to be started."""

import socket


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port at which nobody listens now; an empty address means every one of this machine."""
    with socket.socket() as free:
        free.bind((address, 0))
        return int(free.getsockname()[1])
