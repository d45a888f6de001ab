"""The paired bootstrap: hand-worked cases, coverage that is known, the same every time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.bootstrap import Gain, Rewards, bounded_gain, paired_gain

REWARDS = st.lists(st.floats(-100, 100), min_size=1, max_size=12)


def gain(before: list[float], after: list[float], confidence: float = 0.95, seed: int = 0) -> Gain:
    return paired_gain(np.array(before), np.array(after), 1000, confidence, seed)


def test_two_prompts_worked_by_hand() -> None:
    # Differences 0 and 2: the resampled mean is 0, 1 or 2 with probability 1/4, 1/2, 1/4.
    wide = gain([1.0, 1.0], [1.0, 3.0])
    assert (wide.mean, wide.low, wide.high, wide.prompts) == (1.0, 0.0, 2.0, 2)
    narrow = gain([1.0, 1.0] * 2, [1.0, 3.0] * 2, confidence=0.2)  # inside the middle half
    assert (narrow.low, narrow.high) == (1.0, 1.0)


def test_a_constant_gain_is_certain_however_much_the_prompts_differ() -> None:
    sure = gain([0.0, 50.0, -7.0] * 4, [0.25, 50.25, -6.75] * 4)
    assert (sure.mean, sure.low, sure.high) == (0.25, 0.25, 0.25)
    assert sure.verdict == "better"


def test_fewer_than_ten_prompts_are_sure_of_nothing() -> None:
    assert [gain([0.0] * n, [1.0] * n).verdict for n in (1, 9, 10)] == [
        "unclear", "unclear", "better",
    ]  # fmt: skip


@pytest.mark.parametrize("prompts", [10, 20])
def test_an_unchanged_policy_is_worse_as_often_by_few_prompts_as_by_many(prompts: int) -> None:
    """Plain percentiles said so in 5 % at ten prompts, where 2.5 were meant."""
    generator = np.random.default_rng(5)
    found = [
        paired_gain(np.zeros(prompts), generator.normal(size=prompts), 300, 0.95, 0).verdict
        for _ in range(1000)
    ]
    assert 0.015 < found.count("worse") / 1000 < 0.035


def test_a_gain_is_sure_only_where_the_whole_interval_lies_on_one_side_of_zero() -> None:
    assert gain([0.0, 0.0], [0.0, 2.0]).verdict == "unclear"  # the interval touches zero
    assert gain([0.0], [0.0]).verdict == "unclear"
    assert gain([2.0] * 10, [1.0] * 10).verdict == "worse"


def bounded(before: list[list[float]], after: list[list[float]]) -> Gain:
    """Of rows of mean, low and high for each prompt, of one answer each."""
    sides = [
        Rewards(*np.array(rows).T, unscored=int(np.isnan(rows).sum())) for rows in (before, after)
    ]
    return bounded_gain(sides[0], sides[1], 1000, 0.95, 0)


def test_without_missing_scores_the_bounds_are_the_interval() -> None:
    found = bounded([[1, 1, 1], [2, 2, 2]], [[2, 2, 2], [5, 5, 5]])
    assert (found.at_lowest, found.at_highest) == (found.low, found.high) == (1.0, 3.0)


def test_a_missing_score_bounds_the_gain_by_the_lowest_and_the_highest_score() -> None:
    nan = float("nan")
    old = [[1, 1, 1]] * 4
    found = bounded(old, [[2, 2, 2]] * 3 + [[nan, -8, 5]])
    assert (found.mean, found.low, found.high, found.prompts) == (1.0, 1.0, 1.0, 3)
    # One of four prompts may have lost 9 or gained 4: a resample of four holds it up to four times.
    assert found.at_lowest < (3 - 9) / 4 and found.at_highest > (3 + 4) / 4
    assert found.verdict == "unclear"


def test_a_missing_score_of_the_old_policy_counts_against_the_new_one_as_well() -> None:
    nan = float("nan")
    found = bounded([[1, 1, 1], [nan, 0, 9]], [[2, 2, 2], [2, 2, 2]])
    assert found.at_lowest == -7.0 and found.verdict == "unclear"


def test_a_gain_is_sure_only_where_as_many_answers_of_each_policy_lack_a_score() -> None:
    nan = float("nan")
    old, torn = [[1, 1, 1]] * 12, [[nan, 1, 1]] + [[1, 1, 1]] * 11
    better = [[2, 2, 2]] * 11 + [[nan, 1.5, 2]]
    worse = [[0, 0, 0]] * 11 + [[nan, 0, 0.5]]
    assert bounded(old, better).at_lowest > 0 and bounded(old, worse).at_highest < 0
    assert [bounded(old, new).verdict for new in (better, worse)] == ["unclear", "unclear"]
    assert [bounded(torn, new).verdict for new in (better, worse)] == ["better", "worse"]


def test_it_is_paired_so_the_spread_between_prompts_does_not_widen_it() -> None:
    generator = np.random.default_rng(1)
    before = generator.normal(0, 100, size=50)
    after = before + generator.normal(1, 0.1, size=50)
    width = paired_gain(before, after, 1000, 0.95, 0)
    assert width.high - width.low < 0.1


def test_the_interval_has_the_width_of_the_normal_one_for_many_prompts() -> None:
    generator = np.random.default_rng(2)
    difference = generator.normal(0.3, 1.0, size=400)
    found = paired_gain(np.zeros(400), difference, 4000, 0.95, 0)
    expected = 2 * 1.96 * difference.std() / 20
    assert found.high - found.low == pytest.approx(expected, rel=0.06)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        difference = generator.normal(0.3, 1.0, size=60)
        found = paired_gain(np.zeros(60), difference, 300, 0.9, 0)
        covered += found.low <= 0.3 <= found.high
    assert 0.86 <= covered / 400 <= 0.93  # 0.9, less the percentile method's small-sample bias


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    before, after = [0.0] * 9, [float(value) for value in range(9)]
    assert gain(before, after) == gain(before, after)
    assert gain(before, after, seed=1) != gain(before, after)


@pytest.mark.parametrize("resamples", [100, 256, 257, 1000])
def test_any_number_of_resamples_will_do(resamples: int) -> None:
    found = paired_gain(np.zeros(5), np.arange(5.0), resamples, 0.95, 0)
    assert 0.0 <= found.low < 2.0 < found.high <= 4.0


@pytest.mark.parametrize(
    ("before", "after"), [([], []), ([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0]), ([1.0, 2.0], [])]
)
def test_no_prompt_or_unequal_lengths_are_refused(before: list[float], after: list[float]) -> None:
    with pytest.raises(ValueError, match="two equally long lists"):
        gain(before, after)


@given(REWARDS, st.randoms())
def test_the_interval_lies_among_the_differences_and_around_no_other_order(
    rewards: list[float], shuffle: "np.random.Generator"
) -> None:
    before, after = [0.0] * len(rewards), rewards
    found = paired_gain(np.array(before), np.array(after), 100, 0.95, 0)
    slack = 1e-9
    assert min(rewards) - slack <= found.low <= found.high <= max(rewards) + slack
    mirrored = paired_gain(np.array(after), np.array(before), 100, 0.95, 0)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
