"""Repetition in sampled answers."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.sampling.repetition import repetition


def seq_rep_4(ids: list[int]) -> float:
    """The paper's definition, word for word."""
    grams = [tuple(ids[i : i + 4]) for i in range(len(ids) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else float("nan")


@pytest.mark.parametrize(
    ("ids", "share"),
    [([1, 2, 3, 4], 0.0), ([7] * 8, 0.8), ([1, 2, 3, 4, 1, 2, 3, 4], 0.2), ([], None), ([1], None)],
)
def test_the_share_of_repeated_4_grams_by_hand(ids, share) -> None:
    found = repetition(pa.array([ids], pa.list_(pa.int32())))
    assert found.tolist() == pytest.approx([float("nan") if share is None else share], nan_ok=True)


@given(st.lists(st.lists(st.integers(0, 3), max_size=20), min_size=1, max_size=8))
def test_each_response_is_counted_on_its_own(rows: list[list[int]]) -> None:
    found = repetition(pa.array(rows, pa.list_(pa.int32())))
    np.testing.assert_allclose(found, [seq_rep_4(row) for row in rows])


def test_a_slice_of_a_table_is_counted_like_a_copy() -> None:
    whole = pa.array([[9] * 6, [1, 2, 3, 4, 5], [5] * 5], pa.list_(pa.int32()))
    np.testing.assert_allclose(repetition(whole.slice(1)), [0.0, 0.5])
