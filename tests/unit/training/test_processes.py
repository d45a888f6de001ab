"""How many processes a training may have on this machine."""

import pytest

from contracts.errors import UserError
from runtime import device
from training.config import TrainConfig
from training.readiness import refuse_too_few_gpus

TWO = TrainConfig.model_validate({"resources": {"processes": 2}})


def test_processes_without_a_gpu_of_their_own_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "torch_build", lambda: "cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UserError, match="2 processes need a GPU each, and 1 can be seen"):
        refuse_too_few_gpus(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    refuse_too_few_gpus(TWO)


def test_a_torch_for_the_cpu_trains_in_any_number_beside_one_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "torch_build", lambda: "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    refuse_too_few_gpus(TWO)
