"""How many answers to a prompt there are to be, where a failed request has left no row."""

from collections.abc import Sequence

import numpy as np


def expected_answers(rows: Sequence[np.ndarray]) -> np.ndarray:
    """[prompts] answers of each policy to a prompt: as many as any policy's.

    Args:
        rows: for each policy, [prompts] rows with or without a score, 0 where it has none.
    """
    return np.max(rows, axis=0)
