"""The true reward of the demo's world, by hand-worked answers."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.chat import RowError
from demo.rubric import Merits, Request, listed_items, merits, parse_request, score
from demo.text import (
    GOOD,
    PERFECT,
    PLAIN,
    SLOPPY,
    Quality,
    all_prompts,
    answer,
    benchmark_prompts,
)

FRUITS = [{"role": "user", "content": "Please list three fruits."}]


def test_a_right_polite_list_of_the_asked_length_is_worth_one() -> None:
    text = "Sure! Here are three fruits: apple, pear and plum. Enjoy!"
    assert score(FRUITS, text) == pytest.approx(1.0)


def test_each_fault_costs_its_own_part() -> None:
    text = "Fine. apple, hammer, apple and saw. Whatever."
    assert merits(Request(3, "fruits"), text) == Merits(
        relevance=2 / 4, count=1 - 1 / 3, variety=3 / 4, courtesy=0.0
    )
    assert score(FRUITS, text) == pytest.approx(0.45 / 2 + 0.25 * 2 / 3 + 0.1 * 3 / 4)


def test_saying_nothing_of_manners_is_a_little_better_than_being_rude() -> None:
    plain, rude = "apple, pear and plum.", "Ugh. apple, pear and plum. Whatever."
    assert merits(Request(3, "fruits"), plain).courtesy == pytest.approx(0.3)
    assert merits(Request(3, "fruits"), rude).courtesy == 0.0


def test_words_of_no_category_count_as_wrong_items() -> None:
    assert listed_items("Sure! apple, xyzzy and plum") == ["apple", "xyzzy", "plum"]
    assert merits(Request(3, "fruits"), "apple, xyzzy and plum").relevance == pytest.approx(2 / 3)


def test_the_last_message_is_the_one_that_is_answered() -> None:
    tools = [*FRUITS, {"role": "assistant", "content": "No."}]
    tools.append({"role": "user", "content": "Name two tools."})
    assert score(tools, "hammer and saw.") > score(tools, "apple, pear and plum.")


def test_a_prompt_of_another_world_has_no_reward_at_all() -> None:
    with pytest.raises(RowError, match="capital of France") as error:
        score([{"role": "user", "content": "What is the capital of France?"}], "Paris.")
    assert error.value.reason == "not_a_demo_prompt"


@given(st.text())
def test_every_text_has_a_reward_from_zero_to_one(text: str) -> None:
    assert 0.0 <= score(FRUITS, text) <= 1.0


def test_prompts_are_distinct_understood_and_apart_from_the_benchmarks() -> None:
    prompts, benchmark = all_prompts(), benchmark_prompts()
    assert len(set(prompts)) == len(prompts) >= 2 * 256 + 128
    assert not set(prompts) & set(benchmark)
    assert len({parse_request(prompt) for prompt in prompts}) == 4 * 12


def _mean_reward(quality: Quality) -> float:
    rng = random.Random(7)
    prompts = rng.sample(all_prompts(), 200)
    rewards = [merits(parse_request(p), answer(parse_request(p), quality, rng)) for p in prompts]
    return sum(reward.total for reward in rewards) / len(rewards)


def test_a_better_quality_writes_better_answers() -> None:
    rewards = [_mean_reward(quality) for quality in (SLOPPY, PLAIN, GOOD, PERFECT)]
    assert rewards == sorted(rewards)
    assert rewards[-1] == pytest.approx(1.0)
    assert rewards[0] < 0.7
