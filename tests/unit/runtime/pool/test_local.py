"""The border between a pool and a worker, where the worker is a process of this machine."""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest
from echo_worker import EchoWorker
from process_tree import gone

from runtime.pool.placement import Placement
from runtime.pool.worker import Death


@pytest.fixture
def worker() -> Iterator[EchoWorker]:
    worker = EchoWorker(Placement(1)).wait_until_ready()
    yield worker
    worker.end()


def test_messages_come_back_in_their_order(worker: EchoWorker) -> None:
    for number in range(100):
        worker.send(say=number)
    assert [worker.hear() for _ in range(100)] == [{"said": number} for number in range(100)]


def test_a_worker_that_raises_says_why(worker: EchoWorker) -> None:
    worker.send(**{"raise": "too many fish"})
    assert worker.hear() is None
    assert worker.reap() == Death(
        "ValueError: too many fish", False, loading=False, hung=False, told=True
    )


@pytest.mark.parametrize(("number", "from_outside"), [(signal.SIGKILL, True),
                                                      (signal.SIGSEGV, False)])  # fmt: skip
def test_a_worker_that_is_killed_is_told_from_one_that_crashes(
    worker: EchoWorker, number: signal.Signals, from_outside: bool
) -> None:
    worker.send(die=int(number))
    assert worker.hear() is None
    expected = Death(f"killed by {number.name}", from_outside, loading=False, hung=False)
    assert worker.reap() == expected


def test_a_worker_that_stops_is_killed_and_begun_anew() -> None:
    worker = EchoWorker(Placement(1), patience=3).wait_until_ready()
    worker.send(stop=True)
    assert worker.hear() is None
    assert worker.reap() == Death("hung: silent for 3 s", False, loading=False, hung=True)
    worker.begin()
    worker.wait_until_ready().end()
    assert gone(worker.about["pid"])


def test_a_worker_ends_when_its_wire_does(worker: EchoWorker) -> None:
    process = psutil.Process(worker.about["pid"])
    assert worker.about == {"pid": process.pid, "job": 0}
    os.kill(process.pid, 0)
    worker.end()
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
