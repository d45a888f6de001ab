"""Batches under a token budget, and what happens when memory runs out."""

import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from annotation.scorers.batches import Group, alone, in_batches, packed_tokens, padded_tokens
from contracts.errors import OnPolicyError


def group(prompt: int, responses: list[int], first_row: int = 0) -> Group:
    rows = list(range(first_row, first_row + len(responses)))
    return Group([1] * prompt, [[2] * n for n in responses], rows)


def shapes(batch) -> list[tuple[int, list[int]]]:
    return [(len(g.prompt), [len(r) for r in g.responses]) for g in batch]


def run(groups, budget, size, memory=10**9) -> tuple[list, list]:
    """The batches that went through and the rows that came out, on a device of `memory` tokens."""
    batches = []

    def forward(batch):
        if size(batch) > memory:
            raise torch.OutOfMemoryError("CUDA out of memory")
        batches.append(shapes(batch))
        return [f"row {row}" for g in batch for row in g.rows]

    return batches, list(in_batches(groups, budget, size, forward))


def test_a_prompt_is_counted_once_for_its_responses():
    assert packed_tokens([group(10, [3, 4]), group(5, [1])]) == 23


def test_padding_is_counted():
    assert padded_tokens(alone([group(10, [3, 4]), group(5, [1])])) == 3 * 14


def test_batches_are_filled_longest_first():
    groups = [group(4, [2, 2], 0), group(10, [5], 2), group(3, [1], 3)]
    batches, rows = run(groups, 23, packed_tokens)
    assert batches == [[(10, [5]), (4, [2, 2])], [(3, [1])]]
    assert rows == [(r, f"row {r}") for r in (2, 0, 1, 3)]


def test_a_group_above_the_budget_is_split_between_responses():
    batches, _ = run([group(10, [5, 5, 30, 1])], 20, packed_tokens)
    assert batches == [[(10, [30])], [(10, [5, 5])], [(10, [1])]]


def test_out_of_memory_halves_the_budget_and_goes_on():
    groups = [group(4, [4], row) for row in range(8)]
    batches, rows = run(groups, 64, packed_tokens, memory=20)
    assert [len(batch) for batch in batches] == [2, 2, 2, 2]
    assert sorted(row for row, _ in rows) == list(range(8))


def test_memory_is_given_back_once_nothing_holds_what_did_not_fit(monkeypatch):
    held, alive_then = [], []
    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: alive_then.append(held[-1]() is not None)
    )

    def forward(batch):
        activations = torch.zeros(8)
        held.append(weakref.ref(activations))
        if packed_tokens(batch) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [row for g in batch for row in g.rows]

    list(in_batches([group(4, [4], row) for row in range(8)], 64, packed_tokens, forward))
    assert alive_then == [False, False]


def test_out_of_memory_splits_a_single_group():
    batches, rows = run([group(6, [4, 4, 4, 4])], 64, packed_tokens, memory=14)
    assert batches == [[(6, [4])]] * 4
    assert len(rows) == 4


def test_a_single_response_that_does_not_fit_is_a_failure_that_says_so():
    with pytest.raises(OnPolicyError, match="a single conversation of 30 tokens; lower"):
        run([group(10, [20])], 64, packed_tokens, memory=20)


lengths = st.lists(
    st.tuples(st.integers(1, 20), st.lists(st.integers(1, 20), min_size=1, max_size=5)),
    min_size=1,
    max_size=12,
)


@given(lengths, st.integers(1, 100), st.integers(40, 200))
def test_every_row_comes_out_once_within_budget_and_memory(sizes, budget, memory):
    groups, row = [], 0
    for prompt, responses in sizes:
        groups.append(group(prompt, responses, row))
        row += len(responses)
    for size, items in ((packed_tokens, groups), (padded_tokens, alone(groups))):
        batches, rows = run(items, budget, size, memory)
        assert sorted(rows) == sorted((r, f"row {r}") for r in range(row))
        for batch in batches:
            tokens = sum(prompt + sum(own) for prompt, own in batch)
            assert tokens <= budget or (len(batch) == 1 and len(batch[0][1]) == 1)
