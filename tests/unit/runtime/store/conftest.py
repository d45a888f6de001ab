"""Stores of the tests: a folder, and a real S3 server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import S3, started


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    with started() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, reachable, without faults, and a fresh bucket in it."""
    return s3_server.fresh(monkeypatch)


@pytest.fixture(params=["file", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store: each test holds for a shared folder and for a bucket."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3').bucket}/prefix"
    (tmp_path / "store").mkdir()
    return f"file://{tmp_path}/store"
