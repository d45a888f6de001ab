"""Many requests at once."""

import threading
import time
from collections import Counter

import pytest

from runtime.chat_api.adaptive_limit import AdaptiveLimit
from runtime.chat_api.dispatcher import Dispatcher
from runtime.chat_api.endpoint import Unanswered


class Asked:
    """Answers an item with its square, once it has failed as often as it is told to."""

    def __init__(self, failures: dict[int, list[Unanswered]] | None = None) -> None:
        self.failures = failures or {}
        self.answers: dict[int, object] = {}
        self.asked: Counter[int] = Counter()
        self.in_flight = self.most_in_flight = 0
        self._lock = threading.Lock()

    def ask(self, item: int) -> int:
        with self._lock:
            self.asked[item] += 1
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        time.sleep(0.001)
        with self._lock:
            self.in_flight -= 1
            if self.failures.get(item):
                raise self.failures[item].pop()
        return item * item

    def done(self, item: int, answer: object) -> list[int]:
        self.answers[item] = answer
        return []

    def run(self, items: range, attempts: int = 3, width: int = 4) -> AdaptiveLimit:
        limit = AdaptiveLimit(width, most=width)
        Dispatcher(self.ask, self.done, limit, attempts, first_wait=0.001).run(items)
        return limit


def test_each_item_is_asked_for_once_and_never_more_of_them_than_the_limit():
    asked = Asked()
    asked.run(range(60))
    assert asked.answers == {n: n * n for n in range(60)}
    assert set(asked.asked.values()) == {1}
    assert 1 < asked.most_in_flight <= 4


def test_what_was_not_answered_is_asked_again_and_given_up_after_its_attempts():
    down = [Unanswered("status 500", 500) for _ in range(5)]
    asked = Asked({3: [Unanswered("status 500", 500)], 7: down})
    asked.run(range(10))
    assert asked.answers[3] == 9
    assert isinstance(asked.answers[7], Unanswered) and asked.asked[7] == 3


def test_many_429s_lower_the_limit_and_their_retry_after_is_kept():
    asked = Asked({n: [Unanswered("status 429", 429, retry_after=0.02)] for n in range(10)})
    started = time.monotonic()
    limit = asked.run(range(20), width=10)
    assert limit.episodes == 1 and asked.answers[0] == 0
    assert time.monotonic() - started >= 0.02


def test_what_failed_goes_before_what_was_never_tried_once_its_wait_is_over():
    asked = Asked({0: [Unanswered("status 500", 500)] * 9})
    order: list[int] = []
    asked.done = lambda item, answer: order.append(item) or []
    asked.run(range(400), attempts=3, width=1)
    assert order.index(0) < 200


def test_an_error_ends_all_asking_but_loses_no_answer_that_was_in_flight():
    asked = Asked()

    def ask(item: int) -> int:
        if item == 5:
            raise ValueError("no key")
        return asked.ask(item)

    with pytest.raises(ValueError, match="no key"):
        Dispatcher(ask, asked.done, AdaptiveLimit(4, most=4), 1).run(range(1000))
    assert set(asked.answers) == set(asked.asked)
    assert len(asked.answers) < 1000


def test_an_answer_may_lead_to_another_question():
    answers: dict[int, int] = {}

    def done(item: int, answer: object) -> list[int]:
        answers[item] = answer  # type: ignore[assignment]
        return [item + 100] if item < 5 else []

    Dispatcher(Asked().ask, done, AdaptiveLimit(2, most=2), 1).run(range(5))
    assert sorted(answers) == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]
