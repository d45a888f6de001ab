"""A run's config with a store, on machines that share nothing else."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from s3_server import S3, started
from stored_run import on_machine

from flows.pipeline.config import RunConfig


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    with started() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, reachable, without faults, and a fresh bucket in it."""
    return s3_server.fresh(monkeypatch)


@pytest.fixture
def machine(settings: Callable[..., RunConfig], tmp_path: Path) -> Callable[..., RunConfig]:
    """The same run on a machine of that name, with a shared folder as its store."""
    store = tmp_path / "store"
    store.mkdir()

    def on(disk: str, address: str = f"file://{store}", **changes: object) -> RunConfig:
        return on_machine(settings(**changes), tmp_path / disk, store=address)

    return on
