"""How far a judge agrees with itself."""

import numpy as np
import pytest

from evaluation.win_rates.agreement import agreement, noise_floor
from evaluation.win_rates.estimate import Resampling

FEW = Resampling(resamples=200)


def test_a_disagreement_of_the_orders_is_a_tie() -> None:
    found = agreement(np.array([1, -1, 1, 0]), np.array([1, -1, -1, 1]), FEW)
    assert found.settled.tolist() == [1, -1, 0, 0]
    assert found.share.value == 0.5
    assert 0 <= found.share.low < 0.5 < found.share.high <= 1


def test_prompts_judged_twice_tell_the_noise_floor() -> None:
    first = np.array([0.9, 0.2, 0.6, 0.1])
    second = np.array([0.8, 0.3, 0.4, 0.1])
    found = noise_floor(first, second, FEW)
    assert found.prompts == 4
    assert found.same_verdict.value == 0.75
    assert found.spearman == pytest.approx(1.0)
    assert found.win_rate_difference.value == pytest.approx(-5)


def test_a_judge_that_always_says_the_same_has_no_rank_correlation() -> None:
    assert noise_floor(np.ones(3), np.array([1.0, 0, 1]), FEW).spearman is None


def test_nothing_judged_twice_is_no_noise_floor() -> None:
    with pytest.raises(ValueError, match="at least one prompt"):
        noise_floor(np.array([]), np.array([]), FEW)
