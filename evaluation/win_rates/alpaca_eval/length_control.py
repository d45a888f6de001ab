"""AlpacaEval's length-controlled win rate, stated anew on scikit-learn.

The generalised linear model of alpaca-eval 0.6.6 (`metrics/glm_winrate.py`, Dubois et al. 2024,
arXiv 2404.04475): a judgement's log-odds are a sum of the length difference, the instruction's
difficulty and the model's own strength; the win rate is what it predicts at equal lengths. Here
the difficulty goes by instruction, where the package takes it by row, and the interval is a
bootstrap over prompts with a refit, for the published standard error is that of the predictions
alone (0.54 where a bootstrap gives 1.4).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.win_rates.estimate import Estimate, Resampling, refitted
from runtime.lean_imports import without_pandas

FEWEST = 5
"""Prompts that the cross-validation needs: one a fold."""
_BASELINE_WEIGHT = 0.2 / 2  # lambda 0.2, over the two gamed baselines


@dataclass(frozen=True)
class Judged:
    """Judgements of a model against a baseline, one for each prompt."""

    preference: np.ndarray
    """[prompts] float64, 0 the baseline's answer to 1 the model's."""
    length_difference: np.ndarray
    """[prompts] float64, characters of the baseline's answer less those of the model's."""
    difficulty: np.ndarray
    """[prompts] float64, of the instruction."""


@dataclass(frozen=True)
class Gamed:
    """The baseline made longer and shorter on purpose, judged against itself."""

    preference: np.ndarray
    """[rows] float64."""
    std_length_difference: np.ndarray
    """[rows] float64, standardised."""
    difficulty: np.ndarray
    """[rows] float64."""
    not_gamed: np.ndarray
    """[rows] bool, whether the row is the true baseline's."""
    prompt: np.ndarray
    """[rows] int, the judgement of the same instruction, -1 where there is none."""


@dataclass(frozen=True)
class LengthControlled:
    """The rate in per cent; the published standard error is kept beside the interval, for
    comparison."""

    estimate: Estimate
    published_standard_error: float
    coefficients: Mapping[str, float]
    regularised: bool
    """Whether the gamed baselines were there to hold the fit, as in the leaderboard's figures."""


def length_controlled(
    judged: Judged, gamed: Gamed | None, resampling: Resampling
) -> LengthControlled:
    """The win rate at equal lengths, with its interval.

    Raises:
        ValueError: the prompts do not tell it (`not_told`).
    """
    rate = LengthControlledRate(judged, gamed)
    predicted = _at_equal_lengths(rate.coefficients, judged)
    names = ("length", "difficulty", "model")
    return LengthControlled(
        rate.estimate(resampling),
        100 * float(predicted.std(ddof=1)) / len(predicted) ** 0.5,
        dict(zip(names, map(float, rate.coefficients), strict=True)),
        gamed is not None,
    )


def not_told(judged: Judged, gamed: Gamed | None) -> str | None:
    """Why these prompts tell no win rate at equal lengths; None where they do."""
    if len(judged.preference) < FEWEST:
        return f"a length-controlled win rate needs at least {FEWEST} prompts"
    rows = _rows(judged, gamed, np.ones(len(judged.preference)))
    sides = (rows.weight * rows.truth, rows.weight * (1 - rows.truth))
    if not all(side[fitted].any() for fitted, _ in _folds(rows) for side in sides):
        return "too few prompts are won, or too few lost, for each fold of its fit to have one"
    return None


class LengthControlledRate:
    """A fit that can be made anew over any draw of the prompts."""

    def __init__(self, judged: Judged, gamed: Gamed | None) -> None:
        """
        Raises:
            ValueError: the prompts do not tell it (`not_told`).
        """
        if reason := not_told(judged, gamed):
            raise ValueError(reason)
        self._judged, self._gamed = judged, gamed
        self._once = np.ones(len(judged.preference))
        rows = _rows(judged, gamed, self._once)
        self._strength = _cross_validated(rows)
        self.coefficients = _fit(rows, self._strength)

    def at(self, counts: np.ndarray) -> float:
        """The rate in per cent, with each prompt counted so often: [prompts] float64.

        Where all that was drawn is won, or all lost, there is no fit, and that is the rate.
        """
        rows = _rows(self._judged, self._gamed, counts)
        won, lost = rows.weight @ rows.truth, rows.weight @ (1 - rows.truth)
        if not won or not lost:
            return 100.0 if won else 0.0
        coefficients = _fit(rows, self._strength)
        predicted = _at_equal_lengths(coefficients, self._judged)
        return 100 * float(np.average(predicted, weights=counts))

    def estimate(self, resampling: Resampling) -> Estimate:
        """The rate with its interval, fitted anew for each resample."""
        return refitted(self.at, len(self._once), self.at(self._once), resampling)

    def gain(self, before: "LengthControlledRate", resampling: Resampling) -> Estimate:
        """This rate less another one's of the same prompts, drawn together."""

        def difference(counts: np.ndarray) -> float:
            return self.at(counts) - before.at(counts)

        value = difference(self._once)
        return refitted(difference, len(self._once), value, resampling)


@dataclass(frozen=True)
class _Rows:
    """What is fitted: gamed rows first, as the package has them, for its folds go by order."""

    features: np.ndarray
    """[rows, 3]: tanh of the length difference, difficulty, whether it is the model's own."""
    truth: np.ndarray
    """[rows] preference."""
    weight: np.ndarray
    """[rows]"""


def _rows(judged: Judged, gamed: Gamed | None, counts: np.ndarray) -> _Rows:
    """The rows with each prompt counted as often as it was drawn."""
    length = np.tanh(judged.length_difference / _deviation(judged.length_difference, counts))
    features = np.column_stack([length, judged.difficulty, np.ones(len(length))])
    if gamed is None:
        return _Rows(features, judged.preference, counts)
    columns = (
        np.tanh(gamed.std_length_difference),
        gamed.difficulty,
        gamed.not_gamed.astype(float),
    )
    weight = np.where(gamed.not_gamed, 1.0, _BASELINE_WEIGHT)
    weight = weight * np.where(gamed.prompt < 0, 1.0, counts[gamed.prompt])
    return _Rows(
        np.concatenate([np.column_stack(columns), features]),
        np.concatenate([gamed.preference, judged.preference]),
        np.concatenate([weight, counts]),
    )


def _deviation(values: np.ndarray, counts: np.ndarray) -> float:
    """Sample standard deviation; 1 where all are alike, for then there is nothing to scale."""
    average = np.average(values, weights=counts)
    variance = float(counts @ (values - average) ** 2) / max(counts.sum() - 1, 1)
    return variance**0.5 or 1.0


def _at_equal_lengths(coefficients: np.ndarray, judged: Judged) -> np.ndarray:
    logits = coefficients[1] * judged.difficulty + coefficients[2]
    return np.exp(-np.logaddexp(0, -logits))


def _doubled(rows: _Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels, weights: each row as a win and as a loss, weighted by its preference."""
    labels = np.repeat([1, 0], len(rows.truth))
    weights = np.concatenate([rows.truth * rows.weight, (1 - rows.truth) * rows.weight])
    return np.tile(rows.features, (2, 1)), labels, weights


def _fit(rows: _Rows, strength: float) -> np.ndarray:
    """[3] coefficients under an L1 penalty of 1 / strength."""
    with without_pandas():
        from sklearn.linear_model import LogisticRegression

    # scikit-learn takes classes, the package probabilities: a row of preference p counts p as a win
    # and 1 - p as a loss, which has the same likelihood.
    features, labels, weights = _doubled(rows)
    there = weights > 0
    # The settings of alpaca-eval 0.6.6 (`dflt_kwargs`); `l1_ratio=1` is its penalty `l1`.
    model = LogisticRegression(
        C=strength, l1_ratio=1, solver="liblinear", fit_intercept=False, random_state=123
    )
    return np.asarray(model.fit(features[there], labels[there], weights[there]).coef_[0])


def _folds(rows: _Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit and rows to look at, of each fold of the cross-validation."""
    with without_pandas():
        from sklearn.model_selection import GroupKFold

    yield from GroupKFold(FEWEST).split(rows.features, groups=np.arange(len(rows.truth)))


def _cross_validated(rows: _Rows) -> float:
    """The inverse penalty that five folds choose, both copies of a row in one fold."""
    with without_pandas():
        from sklearn import config_context
        from sklearn.linear_model import LogisticRegressionCV
    from sklearn.metrics import make_scorer
    from sklearn.model_selection import GroupKFold

    features, labels, weights = _doubled(rows)
    scorer: Any = make_scorer(_log_loss, response_method="predict_proba", greater_is_better=False)
    with config_context(enable_metadata_routing=True):
        model = LogisticRegressionCV(
            cv=GroupKFold(FEWEST),
            scoring=scorer.set_score_request(truth=True, weight=True),
            l1_ratios=(1,),
            solver="liblinear",
            fit_intercept=False,
            random_state=123,
            use_legacy_attributes=False,
        ).set_fit_request(sample_weight=True)
        model.fit(
            features,
            labels,
            sample_weight=weights,
            groups=np.tile(np.arange(len(rows.truth)), 2),
            truth=np.tile(rows.truth, 2),
            weight=np.tile(rows.weight, 2),
        )
    return float(model.C_)


def _log_loss(
    drawn: np.ndarray, predicted: np.ndarray, truth: np.ndarray, weight: np.ndarray
) -> float:
    likely = np.clip(predicted, 1e-15, 1 - 1e-15)
    return -float(np.mean(weight * (truth * np.log(likely) + (1 - truth) * np.log(1 - likely))))
