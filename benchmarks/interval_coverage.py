"""`python -m benchmarks.interval_coverage`: how often a 95 % interval of ours holds the truth.

Simulated judgements whose truth is known, 500 draws of the fit, four times as many of each mean:

- `raw`: 805 prompts, a preference a prompt, the mean (AlpacaEval).
- `clustered`: 500 prompts, two games each that share the prompt's difficulty, some weighing three
  times (Arena-Hard). As published: rows of scores resampled as if none shared a prompt, 90 %.
- `few_prompts`: the gain of 20 held-out prompts, the mean. As published: 1.96 standard errors.
- `noise_floor`: 50 prompts judged twice, the two games of each alike, the mean difference. As
  published: games as if none shared a prompt.
- `length_controlled`: 300 prompts with difficulty and length, the GLM fitted anew on each of 200
  resamples. As published: the standard error of the GLM's predictions.

The figure is the largest distance of a coverage from 0.95; 500 draws tell 0.0097 of it, 2,000
half of that.
"""

import argparse
from collections.abc import Callable

import numpy as np

from benchmarks.support.outcome import report
from evaluation.bootstrap import paired_gain
from evaluation.win_rates.agreement import agreement
from evaluation.win_rates.alpaca_eval.length_control import Judged, length_controlled
from evaluation.win_rates.arena_hard import Games, arena_hard_win_rate
from evaluation.win_rates.estimate import Estimate, Resampling, mean

_CONFIDENCE = 0.95
_NORMAL = 1.959964
_NORMAL_90 = 1.644854
_TRUTH_PROMPTS = 2_000_000

Draw = tuple[Estimate, float]
"""Our estimate, and half the width of the published interval around its value."""


def main() -> None:
    """Print the coverages beside those of the published intervals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=500)
    draws = parser.parse_args().draws
    simulations = {
        "raw": (_raw, _raw_truth()),
        "clustered": (_clustered, _clustered_truth()),
        "few_prompts": (_few_prompts, 0.0),
        "noise_floor": (_noise_floor, 0.0),
        "length_controlled": (_length_controlled, _length_controlled_truth()),
    }
    found = {
        name: _coverage(draw, truth, draws if draw is _length_controlled else 4 * draws)
        for name, (draw, truth) in simulations.items()
    }
    report(
        "interval_coverage",
        max(abs(coverage["ours"] - _CONFIDENCE) for coverage in found.values()),
        0.02,
        "largest distance of a coverage from 0.95",
        at_most=True,
        draws=draws,
        **found,
    )


def _coverage(
    draw: Callable[[np.random.Generator], Draw], truth: float, draws: int
) -> dict[str, float]:
    ours = published = 0
    for seed in range(draws):
        estimate, half = draw(np.random.default_rng(seed))
        ours += estimate.low <= truth <= estimate.high
        published += abs(estimate.value - truth) <= half
    return {
        "truth": round(truth, 4),
        "ours": round(ours / draws, 3),
        "published": round(float(published) / draws, 3),
    }


def _raw(generator: np.random.Generator) -> Draw:
    preference = _preferences(generator, 805)
    error = preference.std(ddof=1) / len(preference) ** 0.5
    return mean(preference, Resampling()), _NORMAL * error


def _raw_truth() -> float:
    return float(_preferences(np.random.default_rng(10**6), _TRUTH_PROMPTS).mean())


def _preferences(generator: np.random.Generator, prompts: int) -> np.ndarray:
    """Sure of itself, as a judge of log-probs is: most preferences near 0 or 1."""
    return _logistic(generator.normal(0.8, 4, prompts))


def _clustered(generator: np.random.Generator) -> Draw:
    results, weights = _games(generator, 500)
    games = [
        Games(str(i), (float(r[0]), float(r[1])), (int(w[0]), int(w[1])))
        for i, (r, w) in enumerate(zip(results, weights, strict=True))
    ]
    estimate = arena_hard_win_rate(games, Resampling()).win_rate
    rows = np.repeat(results.ravel(), weights.ravel())
    return estimate, 100 * _NORMAL_90 * rows.std() / len(rows) ** 0.5


def _clustered_truth() -> float:
    results, weights = _games(np.random.default_rng(10**6), _TRUTH_PROMPTS)
    return 100 * float((results * weights).sum() / weights.sum())


def _games(generator: np.random.Generator, prompts: int) -> tuple[np.ndarray, np.ndarray]:
    """[prompts, 2] results and weights; a lean of the judge to what stands first."""
    strength = generator.normal(0.3, 1.5, prompts)[:, None] + np.array([-0.3, 0.3])
    chance = generator.random((prompts, 2))
    results = np.select([chance < _logistic(strength) - 0.05, chance < _logistic(strength) + 0.05],
                        [1.0, 0.5], 0.0)  # fmt: skip
    strong = (results != 0.5) & (generator.random((prompts, 2)) < np.abs(strength) / 4)
    return results, np.where(strong, 3, 1)


def _few_prompts(generator: np.random.Generator) -> Draw:
    gains = generator.normal(0, 1, 20)
    gain = paired_gain(np.zeros(20), gains, 1000, _CONFIDENCE, 0)
    return Estimate(gain.mean, gain.low, gain.high), _NORMAL * gains.std(ddof=1) / 20**0.5


def _noise_floor(generator: np.random.Generator) -> Draw:
    """A judge that moves its mind about a prompt, in either order alike."""
    moved = np.repeat(generator.normal(0, 0.2, 50), 2) + generator.normal(0, 0.1, 100)
    prompts = np.repeat(np.arange(50), 2).astype(str).tolist()
    found = agreement(np.zeros(100), moved, 0.5, Resampling(), prompts).difference
    return found, _NORMAL * moved.std(ddof=1) / 100**0.5


def _length_controlled(generator: np.random.Generator) -> Draw:
    judged = _judged(generator, 300)
    found = length_controlled(judged, None, Resampling(resamples=200))
    return found.estimate, _NORMAL * found.published_standard_error


def _length_controlled_truth() -> float:
    """Win rate at equal lengths: the same without the lengths' part."""
    generator = np.random.default_rng(10**6)
    return 100 * float(_logistic(0.7 + 0.6 * generator.normal(0, 1.3, _TRUTH_PROMPTS)).mean())


def _judged(generator: np.random.Generator, prompts: int) -> Judged:
    """Each judgement a draw, so that the GLM's log-odds are the truth."""
    difficulty = generator.normal(0, 1.3, prompts)
    length = generator.normal(0, 1, prompts)
    logit = 0.7 + 0.6 * difficulty - np.tanh(length)
    won = generator.random(prompts) < _logistic(logit)
    return Judged(won.astype(float), 800 * length, difficulty)


def _logistic(logit: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-logit)))


if __name__ == "__main__":
    main()
