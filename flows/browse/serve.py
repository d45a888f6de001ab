"""`onpolicy browse`: serve a run's pages on loopback until it is stopped."""

import socket
from pathlib import Path

from contracts.errors import UserError

_HOST = "127.0.0.1"


def browse(run: Path, port: int) -> None:
    """Index the run, say where its pages are, and serve them.

    Args:
        port: 0 takes any free one.

    Raises:
        UserError: there are no responses, or the port is taken.
    """
    import uvicorn

    from flows.browse.app import make_app
    from flows.browse.index import Index

    listening = _listen(port)
    index = Index(run)
    address = f"http://{_HOST}:{listening.getsockname()[1]}/"
    print(f"{run}: {index.count():,} responses at {address}; stop with Ctrl-C", flush=True)
    settings = uvicorn.Config(
        make_app(index), log_level="warning", access_log=False, server_header=False
    )
    uvicorn.Server(settings).run(sockets=[listening])


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_HOST, port))
        listening.listen()  # who asks before the index is made, waits
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}; give another, or 0 for any free "
                        "one") from None  # fmt: skip
    return listening
