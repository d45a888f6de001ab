"""Prefect's API as its UI asks it, and `onpolicy server` for the time of a benchmark."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runtime.free_port import free_port

ONPOLICY = [sys.executable, "-m", "flows.cli.main"]
PATIENCE = 300.0


class Api:
    """A server's."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, what: str, **content: Any) -> Any:
        """The answer to a request."""
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/{what}", json.dumps(content).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return json.load(answer)

    def running(self) -> str | None:
        """The flow run that goes on."""
        which = {"state": {"type": {"any_": ["RUNNING"]}}}
        found = self.post("flow_runs/filter", flow_runs=which)
        return found[0]["id"] if found else None

    def cancel(self, flow_run: str) -> None:
        """What the UI's button does."""
        self.post(f"flow_runs/{flow_run}/set_state", state={"type": "CANCELLING"})

    def suspend(self, flow_run: str) -> None:
        """What the UI's button Pause does."""
        until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        details = {"pause_timeout": until, "pause_reschedule": True}
        state = {"type": "PAUSED", "name": "Suspended", "state_details": details}
        self.post(f"flow_runs/{flow_run}/set_state", state=state, force=True)

    def resume(self, flow_run: str) -> None:
        """What the UI's button does."""
        self.post(f"flow_runs/{flow_run}/resume")

    def state(self, flow_run: str) -> str:
        """The name of its state."""
        found = self.post("flow_runs/filter", flow_runs={"id": {"any_": [flow_run]}})
        return str(found[0]["state"]["name"])

    def start_deployment(self, name: str) -> None:
        """Start a run of a deployment, once it is served."""

        def start() -> Any:
            found = self.post("deployments/filter", deployments={"name": {"any_": [name]}})
            if not found or found[0]["status"] != "READY":
                return None
            which = f"deployments/{found[0]['id']}/create_flow_run"
            return self.post(which, state={"type": "SCHEDULED"})

        wait_for(start)


@contextmanager
def server(home: Path) -> Iterator[dict[str, str]]:
    """`onpolicy server`; the environment that makes a run use it."""
    port = free_port()
    environment = {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    process = subprocess.Popen(
        [*ONPOLICY, "server", "--port", str(port)],
        env={**os.environ, **environment}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: is_answering(f"{environment['PREFECT_API_URL']}/health"))
        yield environment
    finally:
        process.terminate()
        process.wait()


def is_answering(url: str) -> bool:
    """Whether a server is up."""
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
        return bool(answer.status == 200)
    return False


def wait_for(is_so: Callable[[], Any]) -> Any:
    """What it says once that is true.

    Raises:
        TimeoutError: it is not, after five minutes.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answer := is_so():
            return answer
        time.sleep(0.1)
    raise TimeoutError
