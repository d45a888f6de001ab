"""What a training's processes are started with."""

import pytest

from training.config import TrainResources
from training.launch.environment import own_environment


def said(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, str]:
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    own = own_environment(TrainResources(threads=3))
    assert own["OMP_NUM_THREADS"] == "3"
    return {name: value for name, value in own.items() if "ALLOC_CONF" in name}


def test_a_gpus_memory_grows_in_segments_that_can_be_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert said(monkeypatch) == {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


def test_the_users_own_allocator_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, PYTORCH_CUDA_ALLOC_CONF="max_split_size_mb:512") == {}
