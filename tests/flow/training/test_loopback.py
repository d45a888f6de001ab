"""What listens where as processes of one machine train together."""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from contracts.steps.step import run_once
from training import train
from training.config import TrainConfig, TrainResources

pytestmark = pytest.mark.engine


def config(epochs: int = 2, **resources: Any) -> TrainConfig:
    return TrainConfig(
        learning_rate=1e-3, global_batch=8, epochs=epochs,
        resources=TrainResources(**{"threads": 1, "micro_batch_tokens": 60, **resources}),
    )  # fmt: skip


def listening(process: psutil.Process) -> set[str]:
    """Addresses on which a process listens; none once it has ended."""
    with suppress(psutil.NoSuchProcess):
        connections = process.net_connections("inet")
        return {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    return set()


@pytest.mark.parametrize("strategy", ["zero3", "none"])  # fsdp's processes meet as none's do
def test_on_one_machine_nothing_listens_beyond_loopback(
    token_inputs: dict[str, str], tmp_path: Path, strategy: str
) -> None:
    seen: set[str] = set()
    ended = threading.Event()
    before = {child.pid for child in psutil.Process().children(recursive=True)}

    def watch() -> None:
        while not ended.wait(0.05):
            for child in psutil.Process().children(recursive=True):
                if child.pid not in before:
                    seen.update(listening(child))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        settings = config(epochs=10, strategy=strategy, processes=2)
        run_once(train.STAGE, settings, token_inputs, tmp_path / "policy")
    finally:
        ended.set()
        watcher.join()
    assert seen  # gloo's own sockets
    assert seen <= {"127.0.0.1", "::1"}
