"""The reward-model win rate: pairs of answers to one prompt, ties, answers without a score."""

from dataclasses import replace

import pyarrow as pa
import pytest

from contracts.errors import OnPolicyError
from evaluation.win_rates.estimate import Resampling
from evaluation.win_rates.rewards import reward_win_rates

FEW = Resampling(resamples=200)


def scores(annotator: str = "armo", **prompts: list[float | None]) -> pa.Table:
    rows = [
        {"annotator": annotator, "prompt_id": prompt, "score": score}
        for prompt, found in prompts.items()
        for score in found
    ]
    schema = pa.schema(
        [("annotator", pa.string()), ("prompt_id", pa.string()), ("score", pa.float64())]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def test_every_answer_is_compared_with_every_one_of_the_base_and_a_tie_is_half_a_win() -> None:
    policy = scores(a=[1.0, 3.0], b=[2.0, 2.0])
    base = scores(a=[2.0, 0.0], b=[2.0, 5.0])
    found = reward_win_rates(policy, base, FEW)["armo"]
    assert found.win_rate.value == pytest.approx(100 * (3 / 4 + 1 / 4) / 2)
    assert found.ties == pytest.approx(1 / 4)
    assert (found.n, found.unscored, found.unpaired) == (2, 0, 0)
    assert (found.at_lowest, found.at_highest) == (found.win_rate.low, found.win_rate.high)


def test_what_has_no_score_is_in_no_figure_and_bounds_it() -> None:
    found = reward_win_rates(
        scores(a=[1.0], b=[None], c=[1.0]), scores(a=[0.0], b=[0.0], d=[1.0]), FEW
    )["armo"]
    assert (found.n, found.unscored, found.unpaired) == (1, 3, 2)
    assert found.win_rate.value == 100
    assert (found.at_lowest, found.at_highest) == (0, 100)


def test_failed_requests_bound_a_rate_like_answers_without_a_score() -> None:
    base = scores(**{f"p{number}": [0.0] for number in range(200)})
    answered = {f"p{number}": [1.0] for number in range(120)}
    nulls: dict[str, list[float | None]] = {f"p{number}": [None] for number in range(120, 200)}
    failed = reward_win_rates(scores(**answered), base, FEW)["armo"]
    unscored = reward_win_rates(scores(**answered, **nulls), base, FEW)["armo"]
    assert (failed.n, failed.unpaired, failed.win_rate.value) == (120, 80, 100)
    assert replace(failed, unpaired=0) == unscored
    assert 50 < failed.at_lowest < 60 and failed.at_highest == 100


def test_a_sample_that_is_missing_leaves_its_prompt_out_and_counts_in_the_bounds() -> None:
    policy, base = scores(a=[1.0], b=[1.0, 1.0]), scores(a=[0.0, 0.0], b=[0.0, 0.0])
    found = reward_win_rates(policy, base, FEW)["armo"]
    assert (found.n, found.unscored, found.unpaired) == (1, 1, 0)
    assert (found.at_lowest, found.at_highest) == (50, 100)


def test_each_annotator_of_both_has_its_own_rate() -> None:
    policy = pa.concat_tables([scores("one", a=[1.0]), scores("two", a=[0.0])])
    base = pa.concat_tables([scores("one", a=[0.0]), scores("two", a=[1.0])])
    found = reward_win_rates(policy, base, FEW)
    assert {name: rate.win_rate.value for name, rate in found.items()} == {"one": 100, "two": 0}


@pytest.mark.parametrize(
    "base", [scores("other", a=[1.0]), scores(b=[1.0]), scores(a=[None]), scores()]
)
def test_nothing_to_compare_is_a_failure_not_a_rate(base: pa.Table) -> None:
    with pytest.raises(OnPolicyError, match="no prompt has a score of both policies"):
        reward_win_rates(scores(a=[1.0]), base, FEW)
