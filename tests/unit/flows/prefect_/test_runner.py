"""A schedule that is stopped ends, whether or not its Prefect server is there to be told."""

import multiprocessing
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from unittest.mock import Mock

import pytest
from prefect import runner as prefect_runner

from flows.prefect_ import runner
from flows.prefect_.runner import Runner, end_once_silent
from runtime.free_port import free_port


class _Ended(BaseException):
    """In place of this process's end."""


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: object) -> None:
        raise _Ended

    monkeypatch.setattr(runner, "end", end)


def unused() -> str:
    return f"http://127.0.0.1:{free_port()}/api"


def test_a_second_signal_ends_it_at_once(ended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Mock()
    monkeypatch.setattr(prefect_runner.Runner, "handle_sigterm", first)
    monkeypatch.setattr(runner, "end_once_silent", Mock())
    serving = Runner("nightly", unused())
    serving.handle_sigterm()
    first.assert_called_once()
    with pytest.raises(_Ended):
        serving.handle_sigterm()


def test_its_runs_end_with_it(ended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Mock()
    monkeypatch.setattr(multiprocessing, "active_children", lambda: [run])
    with pytest.raises(_Ended):
        runner.end_with_runs()
    run.kill.assert_called_once()


def test_it_ends_where_its_server_is_gone(ended: None) -> None:
    with pytest.raises(_Ended):
        end_once_silent(unused(), every=0.01)


def test_it_waits_for_its_runs_while_its_server_answers(
    ended: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=lambda: [server.handle_request() for _ in range(2)], daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/api"
        real = runner.refuse_silent
        monkeypatch.setattr(
            runner, "refuse_silent", lambda url: real(url if len(asked) < 2 else unused())
        )
        with pytest.raises(_Ended):
            end_once_silent(address, every=0.01)
    assert asked == ["/api/health"] * 2
