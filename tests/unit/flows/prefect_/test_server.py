"""Prefect's server and folder: what is wrong with them is told at once, by their variable."""

import http.server
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from checkout import CHECKOUT
from prefect.settings import PREFECT_API_URL, temporary_settings

from contracts.errors import UserError
from flows.prefect_ import settings
from flows.prefect_.run_server import refuse_silent
from flows.prefect_.schedule import refuse_unserved
from flows.prefect_.standing_server import address_of, serve


def test_a_server_that_does_not_answer_is_named_by_its_variable_and_never_with_a_password() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(UserError) as refused:
            refuse_silent(f"http://user:SECRET@127.0.0.1:{port}/api")
    assert f"PREFECT_API_URL: no Prefect server answers at http://127.0.0.1:{port}/api (" in str(
        refused.value
    )
    assert "`onpolicy server`" in str(refused.value) and "unset PREFECT_API_URL" in str(refused)


@pytest.mark.parametrize(
    "url", ["nonsense", "http://", "ftp://127.0.0.1:9/api", "http://[::1]:x/api"]
)
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(UserError, match="PREFECT_API_URL: no Prefect server answers at"):
        refuse_silent(url)


def test_a_server_that_refuses_us_is_one_that_answers() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        refuse_silent(f"http://127.0.0.1:{server.server_port}/api")
        server.shutdown()


def test_a_home_that_cannot_be_written_to_is_told_with_prefects_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    monkeypatch.setenv("HOME", "/dev/null")
    with pytest.raises(UserError) as refused:
        settings.apply()
    assert str(refused.value).startswith("/dev/null/.prefect: cannot be made or written to (Not a")
    assert str(refused.value).endswith("set PREFECT_HOME to a folder of your own")


def test_a_port_that_is_taken_is_refused_by_the_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "PREFECT_HOME": str(tmp_path)})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--host 127.0.0.1 --port {port}: cannot be listened"):
            serve("127.0.0.1", port)


def test_no_setting_of_the_users_switches_tracking_on(tmp_path: Path) -> None:
    wanted = {"PREFECT_SERVER_ANALYTICS_ENABLED": "true", "DO_NOT_TRACK": "0"}
    program = (
        "from flows.prefect_ import settings; settings.apply()\n"
        "import os; print(os.environ['PREFECT_SERVER_ANALYTICS_ENABLED'], "
        "os.environ['DO_NOT_TRACK'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, **wanted, "PREFECT_HOME": str(tmp_path)},
        cwd=CHECKOUT,
    )  # fmt: skip
    assert ended.stdout.split() == ["false", "1"]


@pytest.mark.parametrize(("host", "address"), [
    ("127.0.0.1", "http://127.0.0.1:4200"),
    ("0.0.0.0", "http://127.0.0.1:4200"),
    ("::1", "http://[::1]:4200"),
    ("::", "http://[::1]:4200"),
])  # fmt: skip
def test_the_address_that_is_shown_can_be_opened(host: str, address: str) -> None:
    assert address_of(host, 4200) == address


def test_a_schedule_is_not_begun_where_its_server_does_not_answer() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        api = f"http://127.0.0.1:{free.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: api}), pytest.raises(UserError) as refused:
            refuse_unserved()
    assert f"no Prefect server answers at {api}" in str(refused.value)
