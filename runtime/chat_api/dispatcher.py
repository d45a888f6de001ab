"""Sends many requests at once, as many as the endpoint bears, and each again where that helps.

A request that waits for its next attempt holds no place: others go on meanwhile. Once its time has
come it goes before those never tried, so that an endpoint that is gone is known by the first few.
"""

import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from threading import Condition, Lock, Thread
from typing import Generic, TypeVar

from runtime.chat_api.adaptive_limit import AdaptiveLimit
from runtime.chat_api.endpoint import Unanswered

T = TypeVar("T")
R = TypeVar("R")

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
_LONGEST_ASKED_WAIT = 600.0
_jitter = Random()


@dataclass(order=True)
class _Waiting(Generic[T]):
    due: float
    order: int
    item: T = field(compare=False)
    failures: int = field(default=0, compare=False)


class Dispatcher(Generic[T, R]):
    """Asks `ask(item)` for each item from up to `limit.most` threads.

    `done(item, answer)` is called for one answer at a time, in the order in which they come; an
    `Unanswered` is an answer once an item was tried `attempts` times.
    """

    def __init__(
        self,
        ask: Callable[[T], R],
        done: Callable[[T, R | Unanswered], Iterable[T]],
        limit: AdaptiveLimit,
        attempts: int,
        first_wait: float = _FIRST_WAIT,
    ) -> None:
        """
        Args:
            done: called with an item and its answer; returns further items to ask.
            first_wait: most seconds before the second attempt; doubled for each one after it, up
                to 30 s, and varied by a fifth so that threads do not come back all at once.
        """
        self._ask = ask
        self._done = done
        self._limit = limit
        self._attempts = attempts
        self._first_wait = first_wait
        self._changed = Condition()
        self._fresh: deque[T] = deque()
        self._waiting: list[_Waiting[T]] = []
        self._one_at_a_time = Lock()
        self._in_flight = self._settling = 0
        self._ordered = 0
        self._quiet_until = 0.0
        self._error: BaseException | None = None

    def run(self, items: Iterable[T]) -> None:
        """Ask for all items; returns when each has its answer.

        Raises:
            Exception: what `ask` or `done` raised, once the requests in flight have ended; their
                answers went to `done` before.
        """
        self._fresh.extend(items)
        places = min(self._limit.most, len(self._fresh))
        threads = [Thread(target=self._work, daemon=True) for _ in range(places)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (one := self._next()) is not None:
            sent = time.monotonic()
            try:
                try:
                    answer: R | Unanswered = self._ask(one.item)
                except Unanswered as unanswered:
                    answer = unanswered
                finally:
                    self._free_place()
                self._take(one, answer, sent)
            except BaseException as error:  # noqa: BLE001  raised again by `run`
                with self._changed:
                    self._error = self._error or error
            with self._changed:
                self._settling -= 1
                # All only where they are to end: each answer would wake 64 threads.
                self._changed.notify(self._limit.most if self._is_over() else 1)

    def _free_place(self) -> None:
        """Another request may go; what this one's answer leads to is not known yet."""
        with self._changed:
            self._in_flight -= 1
            self._settling += 1
            self._changed.notify()

    def _next(self) -> _Waiting[T] | None:
        """What to ask next, waited for; None where nothing is left, or an error ended it all."""
        with self._changed:
            while not self._is_over():
                now = time.monotonic()
                due = self._next_due()
                if due <= now and self._in_flight < self._limit.width:
                    self._in_flight += 1
                    return self._first(now)
                self._changed.wait(due - now if now < due < math.inf else None)
            return None

    def _is_over(self) -> bool:
        left = self._fresh or self._waiting or self._in_flight or self._settling
        return self._error is not None or not left

    def _next_due(self) -> float:
        """When the next request may go; never, where all are in flight."""
        due = 0.0 if self._fresh else self._waiting[0].due if self._waiting else math.inf
        return max(due, self._quiet_until)

    def _first(self, now: float) -> _Waiting[T]:
        """One that waited for this, else one that was never tried."""
        if self._waiting and (self._waiting[0].due <= now or not self._fresh):
            return heapq.heappop(self._waiting)
        return _Waiting(now, 0, self._fresh.popleft())

    def _take(self, one: _Waiting[T], answer: R | Unanswered, sent: float) -> None:
        with self._changed:
            if self._is_put_off(one, answer, sent):
                return
        # Not under the lock above: what is done with an answer holds up no request.
        with self._one_at_a_time:
            following = list(self._done(one.item, answer))
        with self._changed:
            self._fresh.extendleft(following)
            self._changed.notify(len(following))

    def _is_put_off(self, one: _Waiting[T], answer: R | Unanswered, sent: float) -> bool:
        """Whether the item waits for another attempt; the limit learns how this one went."""
        if not isinstance(answer, Unanswered):
            self._limit.answered()
            return False
        now = time.monotonic()
        if answer.is_throttled:
            self._limit.throttled(sent, now)
        if one.failures + 1 >= self._attempts:
            return False
        wait = self._wait(one.failures, answer, sent, now)
        self._ordered += 1
        again = _Waiting(now + wait, self._ordered, one.item, one.failures + 1)
        heapq.heappush(self._waiting, again)
        return True

    def _wait(self, failures: int, answer: Unanswered, sent: float, now: float) -> float:
        """Seconds to the next attempt. A 429's `Retry-After` is for the whole account.

        The second attempt waits no longer than the first one took: with half a second for each,
        800 judgements of 50 ms ended 0.4 s late for the few that fail near the end.
        """
        if answer.retry_after is not None:
            wait = min(answer.retry_after, _LONGEST_ASKED_WAIT)
            if answer.is_throttled:
                self._quiet_until = max(self._quiet_until, now + wait)
            return wait
        wait = min(self._first_wait * 2**failures, _LONGEST_WAIT)
        if not failures:
            wait = min(wait, now - sent)
        return float(wait * _jitter.uniform(0.8, 1.2))
