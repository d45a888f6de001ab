"""The bootstrap over prompts: by hand, over clusters, the same every time."""

import numpy as np
import pytest

from evaluation.win_rates.estimate import Resampling, mean, ratio, refitted, times

SETTINGS = Resampling(resamples=2000)


def test_a_mean_has_the_interval_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 400)
    found = mean(values, SETTINGS)
    half = 1.96 * values.std() / 20
    assert found.value == values.mean()
    assert [found.low, found.high] == pytest.approx(
        [found.value - half, found.value + half], abs=0.01
    )


def test_judgements_of_one_prompt_are_drawn_together() -> None:
    prompts = np.random.default_rng(1).integers(2, size=100).astype(float)
    twice = ratio(2 * prompts, np.full(100, 2.0), SETTINGS)
    assert twice == mean(prompts, SETTINGS)  # a second copy of each judgement tells nothing new


def test_a_prompt_of_more_weight_counts_for_more() -> None:
    assert ratio(np.array([3.0, 0]), np.array([3.0, 1]), SETTINGS).value == 0.75


def test_a_fit_on_each_resample_has_the_interval_of_what_it_fits() -> None:
    values = np.random.default_rng(2).random(50)
    fitted = refitted(
        lambda counts: float(np.average(values, weights=counts)), 50, values.mean(), SETTINGS
    )
    assert times(100, fitted).low == pytest.approx(100 * mean(values, SETTINGS).low)


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    values = np.random.default_rng(3).random(30)
    assert mean(values, Resampling(seed=1)) == mean(values, Resampling(seed=1))
    assert mean(values, Resampling(seed=1)) != mean(values, Resampling(seed=2))


def test_nothing_has_no_mean() -> None:
    with pytest.raises(ValueError, match="weight above 0"):
        mean(np.array([]), SETTINGS)
