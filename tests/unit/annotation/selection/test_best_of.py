"""Which response becomes a prompt's demonstration."""

import numpy as np
import pyarrow as pa

from annotation.config import DemonstrationsConfig
from annotation.demonstrations import best_of
from annotation.selection.ranking import Candidates

NAN = float("nan")


def best(scores, cut=None, tokens=None, **config) -> tuple[list[int], dict[str, int]]:
    count = len(scores)
    candidates = Candidates(
        prompt=np.zeros(count, np.int32),
        score=np.array(scores),
        tokens=np.array(tokens or [10] * count),
        truncated=np.array(cut or [False] * count),
        text=pa.array([str(i) for i in range(count)]),
    )
    found, reasons = best_of(DemonstrationsConfig(**config), candidates, 1)
    return found.tolist(), reasons


def test_the_best_of_n_needs_no_lower_one():
    assert best([0.2, 0.9, 0.9]) == ([1], {})
    assert best([0.5]) == ([0], {})
    assert best([0.2, 0.9], tokens=[10, 100], length_penalty=0.01) == ([0], {})


def test_the_best_of_n_is_whole_and_good_enough_or_there_is_none():
    assert best([0.9, 0.5], cut=[True, False]) == ([1], {})
    assert best([0.9, 0.5], cut=[True, False], truncated="keep") == ([0], {})
    assert best([0.9], cut=[True]) == ([], {"all_truncated": 1})
    assert best([0.9], cut=[True], truncated="drop") == ([], {"all_truncated": 1})
    assert best([0.4, NAN], min_score=0.5) == ([], {"low_score": 1})
    assert best([NAN]) == ([], {"no_scores": 1})
