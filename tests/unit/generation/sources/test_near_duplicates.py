"""Near-duplicates are found by an index of runs: what brute force finds, with bounded work."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.chat import Message
from generation.sources.near_duplicates import NearDuplicates, Shingler
from generation.sources.ngrams import words
from generation.sources.run_index import RunIndex

Texts = list[list[str]]


def row(turns: Sequence[str]) -> dict[str, object]:
    messages: list[Message] = [{"role": "user", "content": turn} for turn in turns]
    return {"prompt_id": str(turns), "messages": messages, "source": "test"}


def kept_by_brute_force(texts: Texts, threshold: float) -> Texts:
    kept: list[tuple[list[str], set[tuple[str, ...]]]] = []
    for turns in texts:
        spoken = [turn for text in turns if (turn := words(text))]
        runs = {tuple(turn[i : i + 3]) for turn in spoken for i in range(max(len(turn) - 2, 1))}
        runs = runs or {tuple(turns)}
        if all(len(runs & own) / len(runs | own) < threshold for _, own in kept):
            kept.append((turns, runs))
    return [turns for turns, _ in kept]


turn = st.lists(st.sampled_from("abcd!"), max_size=14).map(" ".join)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.lists(turn, min_size=1, max_size=2), max_size=40),
    st.sampled_from([0.1, 0.5, 0.6, 0.8, 0.9, 1.0]),
)
def test_the_prompts_kept_are_those_that_brute_force_keeps(texts: Texts, threshold: float) -> None:
    near = NearDuplicates(threshold)
    assert [t for t in texts if not near.check(row(t))] == kept_by_brute_force(texts, threshold)


@pytest.mark.parametrize("own_words", [20, 60])
def test_a_template_that_all_share_hides_no_twin_and_bounds_the_work(own_words: int) -> None:
    """100 words in common: the index of two prompts is 0.69 or 0.44, a twin's 0.95 or more."""
    random_words = random.Random(0)
    template = " ".join(f"t{number}" for number in range(100))
    own = [
        " ".join(f"w{random_words.randrange(10**6)}" for _ in range(own_words)) for _ in range(2200)
    ]
    shingler, index = Shingler(), RunIndex()
    looked_at = 0
    for text in own:
        runs = shingler.runs(row([f"{template} {text}"])["messages"])  # type: ignore[arg-type]
        looked_at = max(looked_at, len(index.candidates(runs, 0.8)))
        assert index.nearest(runs, 0.8) is None
        index.add(runs)
    assert looked_at <= 64
    for number in (0, 1000, 2199):
        twin = row([f"{template} {own[number]} please"])["messages"]
        found = index.nearest(shingler.runs(twin), 0.8)  # type: ignore[arg-type]
        assert found is not None and found[0] == number and found[1] > 0.95


def test_a_text_that_differs_from_a_shared_template_in_little_is_like_an_earlier_one() -> None:
    """Of 4,097 prompts, pairwise 0.79 alike, a prompt without an end of its own is like each."""
    template = np.arange(100, dtype=np.uint64)
    index = RunIndex()
    for number in range(5000):
        index.add(np.append(template, np.arange(13, dtype=np.uint64) + 1000 + 13 * number))
    assert index.nearest(template, 0.8) == (0, pytest.approx(100 / 113))


def test_every_run_is_found_with_all_its_holders_as_the_table_grows() -> None:
    chance = random.Random(0)
    texts = [sorted({chance.randrange(3000) ** 2 for _ in range(30)}) for _ in range(500)]
    held: dict[int, list[int]] = {}
    index = RunIndex()
    for number, text in enumerate(texts):
        index.add(np.array(text, np.uint64))
        for run in text:
            held.setdefault(run, []).append(number)
    asked = np.array(sorted(held), np.uint64)[1:]  # 0 is a free place's mark
    places, counts = index._holders.find(asked)
    expected = [held[int(run)] for run in asked]
    assert counts.tolist() == [len(numbers) for numbers in expected]
    for place, count, numbers in zip(places, counts, expected, strict=True):
        assert sorted(index._holders.at(np.array([place]), np.array([count]))) == numbers
