"""A model split by FSDP: rank 0 has the weights, the others begin without any."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.tensor import DTensor

from training.adapters.lora import add_adapters
from training.config import LoraConfig, TrainResources
from training.engines.fsdp import FsdpEngine, join_processes, split
from training.engines.meeting import PatientMeetings
from training.loop.policy import load_policy
from training.packed.logprobs import PairScorer


@pytest.fixture
def process_group() -> Iterator[None]:
    """A world of this process alone."""
    join_processes()
    yield
    torch.distributed.destroy_process_group()


def scorer(model: Path, empty: bool, dtype: torch.dtype = torch.bfloat16) -> Any:
    policy = load_policy(str(model), TrainResources(strategy="fsdp"), dtype, empty=empty)
    add_adapters(policy, LoraConfig(rank=4, alpha=8), seed=0, dtype=torch.float32)
    return PairScorer(policy, 1 << 20)


def described(model: Any) -> dict[str, tuple[Any, ...]]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: (one.shape, one.dtype, one.requires_grad) for name, one in tensors}


@pytest.mark.parametrize("rank", [0, 1, 7])
def test_one_process_alone_loads_the_weights(rank: int) -> None:
    engine = FsdpEngine.__new__(FsdpEngine)
    engine.rank = rank
    assert engine.begins_empty == (rank > 0)


def test_a_model_that_begins_empty_is_the_loaded_one_without_its_numbers(tiny_gemma: Path) -> None:
    empty, loaded = (scorer(tiny_gemma, empty) for empty in (True, False))
    assert {one.device.type for one in empty.parameters()} == {"meta"}
    assert described(empty) == described(loaded)
    assert empty.policy.config._attn_implementation == loaded.policy.config._attn_implementation


def test_split_weights_are_those_of_the_loaded_model_to_the_bit(
    tiny_gemma: Path, process_group: None
) -> None:
    loaded, same = (scorer(tiny_gemma, empty=False) for _ in range(2))
    sharded = split(same, torch.device("cpu"), torch.float32, PatientMeetings(1))
    weights = {name: value.full_tensor() for name, value in sharded.named_parameters()}
    assert described(sharded) == described(loaded)  # a tied head stays tied
    for name, value in loaded.named_parameters():
        assert torch.equal(weights[name], value), name
    for name, value in loaded.named_buffers():
        assert torch.equal(sharded.get_buffer(name), value), name


def test_processes_wait_for_the_one_that_loads_before_any_collective(
    tiny_gemma: Path, process_group: None
) -> None:
    model, was_split = scorer(tiny_gemma, empty=False), []

    class Meetings(PatientMeetings):
        """Notes whether anything had been split, or moved, by then."""

        def wait(self) -> None:
            was_split.append(any(one.is_meta or isinstance(one, DTensor)
                                 for one in model.parameters()))  # fmt: skip

    split(model, torch.device("cpu"), torch.float32, Meetings(1))
    assert was_split == [False]
