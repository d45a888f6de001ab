"""A run's config with a store, on machines that share nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from stored_run import on_machine

from flows.pipeline.config import RunConfig


@pytest.fixture
def machine(settings: Callable[..., RunConfig], tmp_path: Path) -> Callable[..., RunConfig]:
    """The same run on a machine of that name, with a shared folder as its store."""
    store = tmp_path / "store"
    store.mkdir()

    def on(disk: str, address: str = f"file://{store}", **changes: object) -> RunConfig:
        return on_machine(settings(**changes), tmp_path / disk, store=address)

    return on
