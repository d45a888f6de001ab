"""A win rate at equal style: the official fit, and no figure where the prompts don't tell one."""

import numpy as np
import pytest

from evaluation.win_rates.equal_style import at_equal_style, predicted
from evaluation.win_rates.estimate import Resampling

FEW = Resampling(resamples=200)


def lengths(differences: np.ndarray) -> np.ndarray:
    """[prompts, 4] that differ in length alone."""
    return np.column_stack([differences, np.zeros((len(differences), 3))])


def wins(count: int, of: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.arange(of) < count).astype(float)


def test_the_fit_is_scikit_learns_without_a_penalty() -> None:
    from sklearn.linear_model import LogisticRegression

    draws = np.random.default_rng(3)
    features = draws.normal(size=(200, 4))
    chance = 1 / (1 + np.exp(-0.4 - features @ [1.5, -0.7, 0.0, 0.3]))
    won = draws.binomial(3, chance).astype(float)
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    weights = np.concatenate([won, 3 - won])
    model.fit(np.tile(features, (2, 1)), np.repeat([1, 0], 200), weights)
    official = 1 / (1 + np.exp(-model.intercept_[0]))
    assert predicted(features, won, 3 - won) == pytest.approx(official, abs=1e-6)


def test_where_every_answer_is_longer_there_is_no_figure_at_equal_length() -> None:
    base = np.random.default_rng(0).integers(100, 131, size=60)
    won = wins(39, 60)
    found = at_equal_style(lengths((512 - base) / (512 + base)), won, 1 - won, FEW)
    assert (found.estimate, found.missing) == (None, "equal length was not observed")


@pytest.mark.parametrize("other", [0.5, -0.3])
def test_one_prompt_of_another_style_makes_no_figure(other: float) -> None:
    won = wins(70, 100)
    found = at_equal_style(lengths(np.array([0.6] * 99 + [other])), won, 1 - won, FEW)
    assert found.estimate is None and found.missing


@pytest.mark.parametrize("wins_it", [0.0, 1.0])
def test_one_prompt_of_another_style_moves_no_rate_of_equal_styles(wins_it: float) -> None:
    won = wins(70, 100)
    won[-1] = wins_it
    found = at_equal_style(lengths(np.array([0.0] * 99 + [0.4])), won, 1 - won, FEW).estimate
    assert found and found.value == pytest.approx(100 * won[:-1].mean(), abs=0.01)
    assert found.low > 55 and found.high < 85


def test_a_style_that_hardly_varies_leaves_the_rate_what_it_is() -> None:
    won = wins(70, 100)
    differences = np.random.default_rng(1).normal(0, 1e-6, size=100)
    found = at_equal_style(lengths(differences), won, 1 - won, FEW).estimate
    assert found and found.value == pytest.approx(70, abs=2)


def test_where_style_tells_every_win_there_is_no_figure() -> None:
    won = np.repeat([0.0, 1.0], 30)
    differences = np.linspace(-0.5, 0.5, 60)
    found = at_equal_style(lengths(differences), won, 1 - won, FEW)
    assert found.missing == "style tells won games from lost ones almost without fault"


def test_every_fit_ends_or_is_no_figure() -> None:
    """Of few prompts, 13 of 300 resamples once ended nowhere, with whatever was there."""
    draws = np.random.default_rng(2)
    for count in (8, 20):
        for _ in range(100):
            features = draws.normal(size=(count, 4))
            won = draws.integers(0, 3, size=count) / 2.0
            rate = predicted(features, won, 1 - won)
            if not np.isnan(rate) and won.any() and not won.all():
                around = (predicted(features, won + extra, 1 - won) for extra in (1e-9, -1e-9))
                assert [*around] == pytest.approx([rate, rate], abs=1e-5)


def test_few_prompts_have_no_figure_and_many_have_one() -> None:
    draws = np.random.default_rng(4)
    found = []
    for count in (8, 200):
        won = draws.integers(0, 2, size=count).astype(float)
        found.append(at_equal_style(draws.normal(size=(count, 4)), won, 1 - won, FEW))
    assert found[0].estimate is None and found[0].missing
    assert found[1].estimate and 35 < found[1].estimate.low < 50 < found[1].estimate.high < 65
