"""A seat on its node, without Ray around it."""

import queue
import threading
import time
from multiprocessing import Pipe
from typing import Any

import pytest

from runtime.cluster.frames import Call, unpack_answer
from runtime.cluster.seat import Life, Seat


class Present:
    killed = False

    def kill(self) -> None:
        self.killed = True


def test_a_kill_that_comes_late_does_not_end_the_next_worker() -> None:
    seat, present = Seat(), Present()
    lives: Any = {2: present}
    seat._lives = lives
    seat.kill(1)
    assert not present.killed
    seat.kill(2)
    assert present.killed


class Listed(Life):
    """A life whose process is the other end of a pipe."""

    def __init__(self) -> None:
        self.outbox, self.answered = queue.SimpleQueue(), 0.0
        self._pipe, self.process = Pipe()
        self._early, self._next, self._order = {}, 0, threading.Lock()


@pytest.fixture
def life() -> Listed:
    return Listed()


@pytest.fixture
def seat(life: Listed) -> Seat:
    made = Seat()
    made._lives = {1: life}
    return made


def test_what_a_worker_says_is_passed_on_at_once_and_soon_after_that_with_what_follows(
    seat: Seat, life: Listed
) -> None:
    listen = Call(1, 0, 0.05, []).pack()
    life.outbox.put(b"ready")
    assert unpack_answer(seat.exchange(listen)) == ([b"ready"], None)
    life.outbox.put(b"a")
    threading.Timer(0.01, life.outbox.put, (b"b",)).start()
    assert unpack_answer(seat.exchange(listen)) == ([b"a", b"b"], None)
    life.outbox.put(b"last words")
    life.outbox.put(1)
    assert unpack_answer(seat.exchange(listen)) == ([b"last words"], 1)


def test_a_worker_hears_in_the_order_of_sending_what_comes_in_another(
    seat: Seat, life: Listed
) -> None:
    seat.send(Call(1, 3, 0.0, [b"3"]).pack())
    seat.send(Call(1, 1, 0.0, [b"1", b"2"]).pack())
    assert not life.process.poll()
    life.outbox.put(b"answer")
    seat.exchange(Call(1, 0, 0.0, [b"0"]).pack())
    assert [life.process.recv_bytes() for _ in range(4)] == [b"0", b"1", b"2", b"3"]
    seat.send(Call(2, 0, 0.0, [b"to one that has ended"]).pack())
    assert not life.process.poll()


def test_a_seat_that_has_gathered_much_answers_before_the_pause_is_over(
    seat: Seat, life: Listed
) -> None:
    life.answered = time.monotonic() + 60
    said = [bytes(40_000)] * 3
    for message in said:
        life.outbox.put(message)
    listen = Call(1, 0, 0.0, []).pack()
    assert unpack_answer(seat.exchange(listen)) == (said[:2], None)
    assert unpack_answer(seat.exchange(listen)) == (said[2:], None)
