"""Batches hold what the config says, whatever runs them."""

import random
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import TrainConfig
from training.loop.schedule import Schedule, micro_batches


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=40),
    processes=st.integers(1, 5),
    budget=st.integers(1, 2000),
    padded=st.booleans(),
)
def test_every_pair_is_in_one_pass_and_every_process_makes_as_many(
    lengths: list[int], processes: int, budget: int, padded: bool
) -> None:
    plan = micro_batches(lengths, processes, budget, padded)
    assert len(plan) == processes
    assert len({len(passes) for passes in plan}) == 1
    members = [index for passes in plan for indices in passes for index in indices]
    assert sorted(members) == list(range(len(lengths)))
    for indices in (indices for passes in plan for indices in passes):
        members = [lengths[index] for index in indices]
        tokens = len(members) * max(members, default=0) if padded else sum(members)
        assert len(indices) <= 1 or tokens <= budget


def test_padded_pairs_of_like_length_share_a_pass() -> None:
    assert micro_batches([10, 100, 12, 90], 1, 200, padded=True) == [[[1, 3], [2, 0]]]


def test_packed_passes_are_of_like_total_length() -> None:
    assert micro_batches([10, 100, 12, 90], 2, 110, padded=False) == [[[1, 0]], [[3, 2]]]


@pytest.mark.parametrize("processes", [2, 8, 16])
@pytest.mark.parametrize(("padded", "most"), [(False, 1.05), (True, 1.15)])
def test_no_process_waits_for_another_for_want_of_a_pass(
    processes: int, padded: bool, most: float
) -> None:
    """The largest pass of each turn, times the processes, over the tokens there are."""
    chance = random.Random(0)
    lengths = [min(4096, 40 + int(chance.lognormvariate(6.3, 0.8))) for _ in range(128)]

    def tokens(indices: list[int]) -> int:
        own = [lengths[index] for index in indices]
        return len(own) * max(own, default=0) if padded else sum(own)

    plan = micro_batches(lengths, processes, 8192, padded)
    turns = [[tokens(indices) for indices in turn] for turn in zip(*plan, strict=True)]
    assert processes * sum(map(max, turns)) <= most * sum(map(sum, turns))


def test_a_process_without_pairs_gets_an_empty_pass() -> None:
    assert micro_batches([10], 2, 100, padded=False) == [[[0]], [[]]]


def test_an_epoch_sees_every_pair_once_and_each_epoch_has_its_own_order() -> None:
    schedule = Schedule(TrainConfig(global_batch=4, epochs=2), pairs=10)
    batches = [schedule.batch(step) for step in range(schedule.steps)]
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    epochs = [[*chain(*batches[:3])], [*chain(*batches[3:])]]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
def test_the_learning_rate_is_that_of_transformers_own_schedules(kind: str) -> None:
    import torch
    from transformers import get_scheduler

    config = TrainConfig(
        learning_rate=2e-3, schedule=kind, warmup_ratio=0.25, global_batch=1, epochs=1
    )
    schedule = Schedule(config, pairs=11)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-3)
    name = "constant_with_warmup" if kind == "constant" else kind
    theirs = get_scheduler(name, optimizer, num_warmup_steps=3, num_training_steps=11)
    for step in range(11):
        assert schedule.learning_rate(step) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_a_training_whose_only_step_is_the_warm_ups_is_told() -> None:
    told = Schedule(TrainConfig(global_batch=128), 128).idle
    assert told and "128 pairs are one global batch of 128" in told
    assert Schedule(TrainConfig(global_batch=128), 129).idle is None
    assert Schedule(TrainConfig(global_batch=128, epochs=2), 128).idle is None
    assert Schedule(TrainConfig(global_batch=128, warmup_ratio=0), 128).idle is None
    spanning = TrainConfig(global_batch=128, carry_optimizer=True, schedule_rounds=4)
    assert Schedule(spanning, 128).idle is None
