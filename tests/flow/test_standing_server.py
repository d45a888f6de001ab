"""`onpolicy server`: the application that it serves, asked in its own process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import CHECKOUT

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

# Prefect's application as it is; only the socket that it would listen on is left out.
PROGRAM = """
import importlib, json, uvicorn
from starlette.testclient import TestClient
from flows.prefect_.standing_server import serve

def ask(application, factory, **address):
    module, name = application.split(":")
    client = TestClient(getattr(importlib.import_module(module), name)())
    settings = client.get("/api/admin/settings").json()["server"]
    print(json.dumps({"settings": settings, "page": client.get("/").status_code, **address}))

uvicorn.run = ask
serve("127.0.0.1", 4311)
"""


def test_the_server_tells_nobody_of_itself_and_stays_on_loopback(tmp_path: Path) -> None:
    """Its environment asks for analytics; it knows better."""
    own = {"PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_ANALYTICS_ENABLED": "true"}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **own}, capture_output=True,
        text=True, check=True, cwd=CHECKOUT,
    )  # fmt: skip
    told = json.loads(ended.stdout)
    assert told["settings"]["analytics_enabled"] is False
    assert told["settings"]["ui"]["show_promotional_content"] is False
    assert told["settings"]["ui"]["v2_enabled"] is False  # its pages ask Amplitude
    assert (told["host"], told["port"], told["page"]) == ("127.0.0.1", 4311, 200)
    assert "export PREFECT_API_URL=http://127.0.0.1:4311/api" in ended.stderr
