"""What a training's processes are started with."""

import sys

import pytest

from training.config import TrainResources
from training.launch.accelerate import start

SAY = "import os; print({n: v for n, v in os.environ.items() if 'ALLOC_CONF' in n})"


def said(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    process = start([sys.executable, "-c", SAY], TrainResources(), {})
    output = process.communicate()[0]
    return str(output).strip()


def test_a_gpus_memory_grows_in_segments_that_can_be_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert said(monkeypatch) == "{'PYTORCH_ALLOC_CONF': 'expandable_segments:True'}"


def test_the_users_own_allocator_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:512"}
    assert said(monkeypatch, **mine) == str(mine)
