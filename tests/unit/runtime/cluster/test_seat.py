"""A seat on its node, without Ray around it."""

import queue
import threading
from typing import Any

from runtime.cluster.seat import Seat, _Life


class Life:
    killed = False

    def kill(self) -> None:
        self.killed = True


def test_a_kill_that_comes_late_does_not_end_the_next_worker() -> None:
    seat, present = Seat(), Life()
    lives: Any = {2: present}
    seat._lives = lives
    seat.kill(1)
    assert not present.killed
    seat.kill(2)
    assert present.killed


def test_what_a_worker_says_is_passed_on_at_once_and_soon_after_that_with_what_follows() -> None:
    seat, life = Seat(), _Life.__new__(_Life)
    life.outbox, life.answered = queue.SimpleQueue(), 0.0
    seat._lives = {1: life}
    life.outbox.put(b"ready")
    assert seat.receive(1) == ([b"ready"], None)
    life.outbox.put(b"a")
    threading.Timer(0.01, life.outbox.put, (b"b",)).start()
    assert seat.receive(1) == ([b"a", b"b"], None)
    life.outbox.put(b"last words")
    life.outbox.put(1)
    assert seat.receive(1) == ([b"last words"], 1)
