"""`onpolicy server`: Prefect's server and UI for schedules, which tells nobody of itself.

`prefect server start` posts a heartbeat to its makers unless a setting says otherwise, and its UI
shows their banners; here both are off whatever the settings say. The second version of the UI asks
Amplitude for the settings of its analytics before it reads whether any are wanted (3.9), so that
the first one opens.
"""

import os
import socket

from contracts.errors import UserError
from flows.pipeline.console import console
from flows.prefect_ import settings

_ALWAYS = {
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    "PREFECT__SERVER_FINAL": "1",
    # Nobody else shows what goes wrong in it.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "ERROR",
}
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(host: str, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        UserError: the address is taken or not this machine's, or PREFECT_HOME is not writable.
    """
    settings.apply()
    _refuse_taken(host, port)
    os.environ.update(_ALWAYS)
    os.environ |= {"PREFECT_SERVER_API_HOST": host, "PREFECT_SERVER_API_PORT": str(port)}
    address = address_of(host, port)
    os.environ.setdefault("PREFECT_UI_API_URL", f"{address}/api")
    import uvicorn

    console.print(f"Prefect's UI: {address}; for onpolicy: export PREFECT_API_URL={address}/api")
    if host not in _LOOPBACK:
        console.print(f"It has no login: whoever reaches {host} can start and stop runs.")
    application = "prefect.server.api.server:create_app"
    uvicorn.run(application, factory=True, host=host, port=port, log_level="error")


def address_of(host: str, port: int) -> str:
    """Where a browser on this machine finds a server that listens at `host` and `port`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _refuse_taken(host: str, port: int) -> None:
    try:
        family = socket.getaddrinfo(host, port)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        raise UserError(f"--host {host} --port {port}: cannot be listened on: {error}") from None
