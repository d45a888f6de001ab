"""How far a judge agrees with itself."""

import numpy as np
import pytest

from evaluation.win_rates.agreement import agreement
from evaluation.win_rates.estimate import Resampling

FEW = Resampling(resamples=200)


def test_both_orders_agree_where_the_same_side_wins() -> None:
    found = agreement(np.array([1, 0, 1, 0.5]), np.array([0.9, 0, 0, 1]), 0.5, FEW)
    assert found.same_side.value == 0.5
    assert 0 <= found.same_side.low < 0.5 < found.same_side.high <= 1


def test_games_judged_twice_tell_the_noise_floor() -> None:
    first = np.array([0.9, 0.2, 0.6, 0.1])
    second = np.array([0.8, 0.3, 0.4, 0.1])
    found = agreement(first, second, 0.5, FEW)
    assert found.pairs == 4
    assert found.same_side.value == 0.75
    assert found.spearman == pytest.approx(1.0)
    assert found.difference.value == pytest.approx(-0.05)


def test_ratings_agree_where_they_are_the_same() -> None:
    assert agreement(np.array([8.0, 9]), np.array([8.0, 10]), None, FEW).same_side.value == 0.5


def test_a_judge_that_always_says_the_same_has_no_rank_correlation() -> None:
    assert agreement(np.ones(3), np.array([1.0, 0, 1]), 0.5, FEW).spearman is None


def test_nothing_judged_twice_is_no_noise_floor() -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        agreement(np.array([]), np.array([]), 0.5, FEW)
