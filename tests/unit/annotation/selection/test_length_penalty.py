"""The penalty that `length_penalty: auto` comes to, by hand."""

import numpy as np
import pyarrow as pa
import pytest

from annotation.config import PairsConfig
from annotation.selection.length_penalty import auto_length_penalty, balancing_penalty
from annotation.selection.pairs import select_pairs
from annotation.selection.ranking import Candidates


def part(*prompts: list[tuple[float, int]]) -> tuple[Candidates, pa.StringArray]:
    """Responses as (score, tokens), by prompt."""
    rows = [(number, *row) for number, prompt in enumerate(prompts) for row in prompt]
    prompt, score, tokens = map(np.array, zip(*rows, strict=True))
    texts = pa.array([f"text {row}" for row in range(len(rows))])
    candidates = Candidates(prompt, score, tokens, np.zeros(len(rows), bool), texts)
    return candidates, pa.array([f"p{number}" for number in range(len(prompts))])


def found(*parts: tuple[Candidates, pa.StringArray], **config: object) -> float:
    return auto_length_penalty(PairsConfig.model_validate(config), parts)


def test_the_penalty_lies_where_the_longer_responses_stop_being_chosen():
    # The long answer is better by 1 and longer by 10 in one prompt: it is chosen up to 0.1 a
    # token. In the other a shorter one by 5 is better. 10 - 5 above 0, -10 - 5 from 0.1 on:
    # 5 is the nearer one to 0.
    table = part([(2.0, 30), (1.0, 20)], [(1.0, 10), (0.0, 15)])
    assert found(table) == pytest.approx(0.1, abs=1e-6)
    assert found(table) < 0.1


def test_at_the_penalty_chosen_and_rejected_are_as_long_on_average():
    random = np.random.default_rng(0)
    prompts = []
    for _ in range(400):
        tokens = random.integers(10, 200, 5)
        prompts.append(list(zip(random.normal(size=5) + tokens / 60, tokens, strict=True)))
    candidates, ids = part(*prompts)
    without, balanced = (
        select_pairs(PairsConfig(length_penalty=penalty), candidates, ids)
        for penalty in (0.0, found((candidates, ids)))
    )
    means = [
        float((candidates.tokens[own.chosen] - candidates.tokens[own.rejected]).mean())
        for own in (without, balanced)
    ]
    assert means[0] > 80
    assert abs(means[1]) < 0.5


def test_it_counts_the_pairs_of_all_parts_that_strategy_and_filters_leave():
    long_wins = [(2.0, 30), (1.0, 20)]
    short_wins = [(1.0, 10), (0.0, 15)]
    parts = [part(long_wins), part(short_wins, short_wins, short_wins)]
    assert found(*parts) == 0  # 10 - 3 * 5 is below 0: nothing to take off
    assert found(*parts, max_length_difference=9) == 0  # the long one is out
    assert found(*parts, min_margin=1.01) == 0  # no pair at all
    second = part([(3.0, 30), (2.0, 10), (0.0, 90)])
    assert found(second, strategy="max_second") == pytest.approx(1 / 20, abs=1e-6)


def test_the_scale_of_the_reward_does_not_matter():
    for scale in (1e-3, 1.0, 1e4):
        table = part([(2 * scale, 30), (scale, 20)], [(scale, 10), (0.0, 15)])
        assert found(table) == pytest.approx(0.1 * scale, rel=1e-3)


def test_a_penalty_is_never_negative_and_never_without_end():
    assert balancing_penalty(lambda penalty: -1.0) == 0
    assert balancing_penalty(lambda penalty: float("nan")) == 0
    assert balancing_penalty(lambda penalty: 3 - penalty) == pytest.approx(3, rel=1e-6)
    with pytest.raises(OverflowError):
        balancing_penalty(lambda penalty: 1.0)


def test_a_number_may_not_be_given_as_another_word():
    with pytest.raises(ValueError, match="auto"):
        PairsConfig.model_validate({"length_penalty": "some"})


def test_nothing_to_read_is_no_reason_for_a_penalty():
    assert auto_length_penalty(PairsConfig(), []) == 0
