"""What the judges' tests share."""

from collections.abc import Callable, Iterator

import pytest
from judge_endpoint import KEY, Endpoint


@pytest.fixture
def serve(monkeypatch) -> Iterator[Callable]:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    running: list[Endpoint] = []

    def start(answer: Callable[[str], str | int | bytes]) -> Endpoint:
        running.append(Endpoint(answer))
        return running[-1]

    yield start
    for endpoint in running:
        endpoint.server.shutdown()
        endpoint.server.server_close()
