"""A real S3 server (moto's) on loopback, and what may go wrong between it and a client."""

import random
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

SECRET = "a-secret-that-no-file-may-hold"
_HANG = 0.6
_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
_PAUSE = 0.05

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Faults:
    """What happens to requests, in front of a server: nothing unless it is asked for."""

    KINDS = ("500 before", "500 after", "no answer", "cut upload", "cut download", "timeout")

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._coming: list[str | None] = []
        self.happened: list[str] = []
        self.requests: list[str] = []
        self.is_down = False
        self.is_read_only = False
        """Whether whoever asks has no right to write."""
        self.is_unconditional = False
        """Whether it is one of those S3 servers that know no conditions of a PUT."""
        self.under_way = self.most_at_once = 0

    def plan(self, seed: int, count: int, among: int) -> None:
        """Let `count` of the next `among` requests fail, each in a way of its own."""
        chance = random.Random(seed)
        coming: list[str | None] = [None] * among
        for place in chance.sample(range(among), count):
            coming[place] = chance.choice(self.KINDS)
        with self._lock:
            self._coming, self.happened = coming, []

    def come(self, *kinds: str) -> None:
        """Let the next requests fail in these ways."""
        with self._lock:
            self._coming = [*kinds]

    def clear(self) -> None:
        with self._lock:
            self._coming, self.requests = [], []
            self.is_down = self.is_read_only = self.is_unconditional = False
            self.most_at_once = 0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
            kind = "500 before" if self.is_down else None
            if self.is_read_only and environ["REQUEST_METHOD"] == "PUT":
                kind = "403"
            if self._coming:
                kind = self._coming.pop(0) or kind
            if kind:
                self.happened.append(kind)
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            return self._answer(kind, environ, start)
        finally:
            with self._lock:
                self.under_way -= 1

    def _answer(
        self, kind: str | None, environ: dict[str, Any], start: Callable[..., Any]
    ) -> Iterable[bytes]:
        if kind in ("500 before", "cut upload"):
            length = int(environ.get("CONTENT_LENGTH") or 0)
            environ["wsgi.input"].read(length // 2 if kind == "cut upload" else length)
            start("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        if kind == "403":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("403 Forbidden", [("Content-Length", str(len(_DENIED)))])
            return [_DENIED]
        if self.is_unconditional:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if kind is None:
            return self._app(environ, start)
        if kind == "timeout":
            time.sleep(_HANG)
            return self._app(environ, start)
        return self._spoiled(kind, environ, start)

    def _spoiled(
        self, kind: str, environ: dict[str, Any], start: Callable[..., Any]
    ) -> Iterable[bytes]:
        """The request is done, and its answer is lost or cut."""
        answer: list[Any] = []
        body = b"".join(self._app(environ, lambda *given: answer.extend(given[:2])))
        if kind == "500 after":
            start("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        if kind == "no answer" or not body:
            raise ConnectionError("the connection is gone")
        if kind == "slow download":
            start(*answer)
            return slowly(body)
        headers = [(k, v) for k, v in answer[1] if k.lower() != "content-length"]
        start(answer[0], [*headers, ("Content-Length", str(len(body)))])
        return [body[: len(body) // 2]]


def slowly(body: bytes) -> Iterator[bytes]:
    """In ten pieces, with a pause before each."""
    size = -(-len(body) // 10)
    for start in range(0, len(body), size):
        time.sleep(_PAUSE)
        yield body[start : start + size]


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any, **__: Any) -> None:
        """Nothing: a thousand requests would hide what failed."""

    def run_wsgi(self) -> None:
        try:
            super().run_wsgi()
        finally:
            self.close_connection = True


class S3:
    """The server: an endpoint, buckets, faults."""

    def __init__(self, endpoint: str, faults: Faults) -> None:
        self.endpoint, self.faults = endpoint, faults
        self.bucket = ""
        self._buckets = 0

    def fresh(self, monkeypatch: pytest.MonkeyPatch) -> "S3":
        """The server with an empty bucket, made reachable by the environment, as a user does."""
        self.faults.clear()
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        self._buckets += 1
        self.bucket = f"s3://bucket-{self._buckets}"
        request = Request(f"{self.endpoint}/bucket-{self._buckets}", method="PUT")
        urlopen(request).close()
        return self

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }


@contextmanager
def started() -> Iterator[S3]:
    """The server, for as long as it is needed."""
    with warnings.catch_warnings():  # it wants all of moto[server]
        warnings.simplefilter("ignore")
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    faults = Faults(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield S3(f"http://127.0.0.1:{server.server_port}", faults)
    finally:
        server.shutdown()
