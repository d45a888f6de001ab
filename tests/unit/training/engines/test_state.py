"""A run goes on with AdamW's state as its optimizer wants it, fused or not."""

from pathlib import Path

import pytest
import torch

from training.config import TrainConfig, TrainResources
from training.engines.base import fused_on
from training.engines.state import PlainState, make_averages

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def begun(fused: bool | None) -> tuple[torch.nn.Module, torch.optim.AdamW]:
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 5)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)


def step(model: torch.nn.Module, adam: torch.optim.AdamW, times: int) -> None:
    for _ in range(times):
        adam.zero_grad()
        model(torch.ones(3, 6)).square().sum().backward()
        adam.step()


@pytest.mark.parametrize("before", [None, True])
@pytest.mark.parametrize("after", [None, True])
def test_a_run_goes_on_fused_or_not_with_what_either_has_saved(
    tmp_path: Path, before: bool | None, after: bool | None
) -> None:
    model, adam = begun(before)
    step(model, adam, 3)
    PlainState(model, adam).save(tmp_path, rank=0, processes=1)
    other, resumed = begun(after)
    PlainState(other, resumed).load(tmp_path, steps=3)
    for one in ((model, adam), (other, resumed)):
        step(*one, times=2)
    torch.testing.assert_close(other.weight, model.weight)


def test_a_fused_kernel_finds_the_count_of_steps_where_the_weights_are() -> None:
    weight = torch.nn.Parameter(torch.empty(2, 2, device="meta"))
    for fused, where in ((True, "meta"), (None, "cpu")):
        adam = torch.optim.AdamW([torch.nn.Parameter(torch.empty(1))], fused=fused)
        make_averages(adam, [weight], steps=7)
        assert adam.state[weight]["step"].device.type == where


def test_adamw_is_fused_on_a_gpu_where_nothing_is_offloaded() -> None:
    held = TrainConfig(resources=TrainResources(strategy="fsdp"))
    assert fused_on(CUDA, held) and not fused_on(CPU, held)
    away = TrainConfig(resources=TrainResources(strategy="zero3", offload="optimizer"))
    assert not fused_on(CUDA, away)
