"""A Prefect server for the time of a run, where no setting of the user's names one.

Prefect would start one itself, in the run's own process group: Ctrl-C in a terminal and a
scheduler's SIGTERM then reach the server too, and the run asks a dead server for minutes;
kill -9 leaves it behind. This one has a session of its own, and ends with the run.
"""

import atexit
import os
import re
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from contracts.errors import OnPolicyError, UserError
from runtime.child_process import Child, start_child
from runtime.free_port import free_port
from runtime.stage_process import exit_code_of

# It answers in 8 s, in 18 where it makes its database first, and later on a busy machine.
_READY_SECONDS = 120.0
_PATIENCE = 10.0
_STOP_SECONDS = 5.0
_KEPT_LINES = 12
_SETTINGS = {
    # As Prefect's own: no UI, no services that only a server that stays has use for.
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}


def has_server() -> bool:
    """Whether the user's environment or Prefect profile names a server."""
    from prefect.settings import get_current_settings

    return bool(get_current_settings().api.url)


def named_server() -> str | None:
    """Address of the API that the user's environment or Prefect profile names, read anew."""
    from prefect.settings.models.root import Settings

    return Settings().api.url


def ensure_server() -> None:
    """Start a server on loopback for as long as this process lives, unless there is one.

    Raises:
        UserError: the one that the user's settings name does not answer.
        OnPolicyError: ours does not come up.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings

    if url := get_current_settings().api.url:
        refuse_silent(url)
    else:
        os.environ["PREFECT_API_URL"] = _start()
        refresh_global_settings_context()


def refuse_silent(url: str) -> None:
    """Ask a server once, before Prefect asks it for a minute.

    Raises:
        UserError: nothing answers; any answer is one, a refusal too.
    """
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=_PATIENCE)  # noqa: S310
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):  # Prefect has settings of its own for that
            return
        raise UserError(
            f"PREFECT_API_URL: no Prefect server answers at {without_user(url)} ({reason}); start "
            "it (`onpolicy server`), or unset PREFECT_API_URL, and the run starts one of its own"
        ) from None


def without_user(url: str) -> str:
    """An address as it may be shown: what stands before its `@` is a name and a password."""
    return re.sub(r"//[^/]*@", "//", url)


def _start() -> str:
    port = free_port()
    server = start_child([sys.executable, "-m", "flows.prefect_.run_server", str(port)], _SETTINGS)
    # Before Prefect registers its own: it says its last words to a server that still listens.
    atexit.register(_stop, server)
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    threading.Thread(target=lines.extend, args=(server.stdout,), daemon=True).start()
    deadline = time.monotonic() + _READY_SECONDS
    while not _is_ready(port):
        if server.poll() is not None or time.monotonic() > deadline:
            raise OnPolicyError("Prefect's server did not come up:\n" + "".join(lines))
        time.sleep(0.1)
    return f"http://127.0.0.1:{port}/api"


def _is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _stop(server: Child) -> None:
    server.terminate()
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()


def _serve() -> None:
    import uvicorn

    application = "prefect.server.api.server:create_app"
    port = int(sys.argv[1])
    uvicorn.run(application, factory=True, host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    sys.exit(exit_code_of(_serve))
