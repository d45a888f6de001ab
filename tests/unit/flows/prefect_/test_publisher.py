"""What Prefect's server is told goes through one thread, which no outage lets touch the run."""

import threading
from contextvars import ContextVar

from flows.prefect_.publisher import _ROOM, Publisher


class Server:
    """Takes what it is told, unless it is away or stuck."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.away = False
        self.free = threading.Event()
        self.free.set()

    def tell(self, news: object) -> None:
        self.free.wait(10)
        if self.away:
            raise ConnectionError("All connection attempts failed")
        self.told.append(news)


def test_everything_is_told_in_order_before_a_run_ends() -> None:
    server, warnings = Server(), list[str]()
    publisher = Publisher(warnings.append)
    for number in range(20):
        publisher.put(lambda number=number: server.tell(number))
    publisher.flush(10)
    assert server.told == list(range(20)) and not warnings


def test_an_outage_is_told_once_and_its_end_once() -> None:
    server, warnings = Server(), list[str]()
    publisher = Publisher(warnings.append)
    for away in (True, True, True, False, False):
        server.away = away
        publisher.put(lambda: server.tell("news"))
        publisher._queue.join()
    assert len(server.told) == 2
    first, last = warnings
    assert "ConnectionError: All connection attempts failed" in first and "goes on" in first
    assert "is back; 3 things were not told" in last


def test_a_server_that_never_answers_holds_nobody_up() -> None:
    server, warnings = Server(), list[str]()
    server.free.clear()
    publisher = Publisher(warnings.append)
    for number in range(2 * _ROOM):
        publisher.put(lambda number=number: server.tell(number))
    publisher.flush(0.05)
    assert server.told == []
    server.free.set()
    publisher._queue.join()
    assert 0 < len(server.told) <= _ROOM + 1
    assert warnings == [f"Prefect's server is back; {2 * _ROOM - len(server.told)} things were "
                        "not told to it"]  # fmt: skip


def test_what_is_sent_belongs_to_the_run_that_asked_for_it() -> None:
    run = ContextVar("run", default="none")
    seen = list[str]()
    publisher = Publisher(print)
    for name in ("one", "two"):
        run.set(name)
        publisher.put(lambda: seen.append(run.get()))
    publisher.flush(10)
    assert seen == ["one", "two"]
