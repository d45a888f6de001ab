"""A paired bootstrap: how sure a mean difference is. Pure numpy."""

from dataclasses import dataclass

import numpy as np

_BLOCK = 256


@dataclass(frozen=True)
class Gain:
    """A mean difference with its interval; the reward's own unit."""

    mean: float
    low: float
    high: float
    confidence: float
    prompts: int

    @property
    def is_positive(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low > 0


def paired_gain(
    before: np.ndarray, after: np.ndarray, resamples: int, confidence: float, seed: int
) -> Gain:
    """Percentile bootstrap of `mean(after - before)` over prompts (Efron 1979).

    Args:
        before: [prompts] float64, mean reward of the old policy's answers.
        after: [prompts] float64, the new policy's, in the same order.

    Raises:
        ValueError: no prompt, or unequal lengths.
    """
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise ValueError("a paired bootstrap needs two equally long lists of at least one prompt")
    difference = after - before
    generator = np.random.default_rng(seed)
    # Blocks of resamples: 10,000 x 805 indices at once would take 64 MB for nothing.
    means = np.concatenate(
        [
            difference[generator.integers(len(difference), size=(size, len(difference)))].mean(1)
            for size in _blocks(resamples)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Gain(float(difference.mean()), float(low), float(high), confidence, len(difference))


def _blocks(total: int) -> list[int]:
    return [_BLOCK] * (total // _BLOCK) + ([total % _BLOCK] if total % _BLOCK else [])
