"""What becomes of a worker whose seat, or its node, fails: Ray's own errors, without a cluster."""

import json
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from runtime.cluster.frames import Call, pack_answer, unpack_call
from runtime.cluster.wire import Inbox, RayWire
from runtime.pool.wire import Ending

NODE_DIED = ActorDiedErrorContext(
    actor_id=bytes(16), error_message="The actor is dead because its node has died."
)
SEAT_DIED = ActorDiedErrorContext(actor_id=bytes(16), error_message="Worker exit type: SYSTEM")
LOST = Ending(None, lost="its node was lost before it began")
KILLED = Ending(-9)


def raised(error: str) -> RayTaskError:
    return RayTaskError("Seat", f"Traceback:\n  line 1\n{error}", ValueError(error), ip="10.0.0.1")


class SeatThatFails:
    """A seat whose first call ends with an error; it notes whom it is told to kill."""

    def __init__(self, error: BaseException) -> None:
        self.killed: list[int] = []
        failed: Future[Any] = Future()
        failed.set_exception(error)
        answer = SimpleNamespace(future=lambda: failed)
        self.start = SimpleNamespace(remote=lambda life, spec: answer)
        self.kill = SimpleNamespace(remote=self.killed.append)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (ActorDiedError(NODE_DIED), LOST),
        (ActorUnavailableError("no route to host", None), LOST),
        (ActorDiedError(SEAT_DIED), KILLED),
        (ActorDiedError(raised("ImportError: no seat")),
         Ending(None, refused="ImportError: no seat")),
        (raised("UserError: owner/name: no such model"),
         Ending(None, refused="UserError: owner/name: no such model")),
    ],
)  # fmt: skip
def test_a_seat_that_fails_before_its_worker_begins_is_lost_killed_or_refused(
    inbox: Inbox, error: Exception, ending: Ending
) -> None:
    wire = RayWire(inbox, SeatThatFails(error), 1, "{}")
    assert inbox.wait([wire], 10) == [wire]
    assert (wire.reap(), wire.seat_is_gone) == (ending, True)


def test_a_seat_is_told_which_of_its_workers_to_kill(inbox: Inbox) -> None:
    seat = SeatThatFails(ActorDiedError(SEAT_DIED))
    RayWire(inbox, seat, 7, "{}").end_process()
    assert seat.killed == [7]


class SeatThatIsLost(SeatThatFails):
    """It begins a worker; then Ray loses the cluster, and no call to it can be made."""

    def __init__(self) -> None:
        super().__init__(ActorDiedError(SEAT_DIED))
        begun: Future[Any] = Future()
        begun.set_result(json.dumps({"place": "node 10.0.0.1", "node": "10.0.0.1"}))
        self.start = SimpleNamespace(remote=lambda *_: SimpleNamespace(future=lambda: begun))
        self.exchange = self.send = self.kill = SimpleNamespace(remote=self.fail)

    def fail(self, *_: Any) -> None:
        raise ConnectionError("the client has been shut down")


def test_a_call_that_cannot_be_made_is_the_end_of_its_worker_and_of_no_other(inbox: Inbox) -> None:
    lost = RayWire(inbox, SeatThatIsLost(), 1, "{}")
    assert inbox.wait([lost], 10) == [lost]
    why = "node 10.0.0.1 was lost (ConnectionError: the client has been shut down)"
    assert (lost.reap(), lost.seat_is_gone) == (Ending(None, lost=why), True)
    lost.kill()
    other = RayWire(inbox, SeatThatFails(ActorDiedError(SEAT_DIED)), 2, "{}")
    assert inbox.wait([other], 10) == [other]


class Calls:
    """A seat that begins a worker at once, and answers calls when it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Call]] = []
        self.answers: list[Future[Any]] = []
        begun: Future[Any] = Future()
        begun.set_result(json.dumps({"place": "node 10.0.0.1", "node": "10.0.0.1"}))
        self.start = SimpleNamespace(remote=lambda *_: SimpleNamespace(future=lambda: begun))
        self.exchange = SimpleNamespace(remote=self._exchange)
        self.send = SimpleNamespace(remote=partial(self._note, "send"))

    def answer(self, *messages: bytes, code: int | None = None) -> None:
        self.answers[-1].set_result(pack_answer(messages, code))

    def _exchange(self, frame: bytes) -> Any:
        self._note("exchange", frame)
        self.answers.append(Future())
        return SimpleNamespace(future=lambda: self.answers[-1])

    def _note(self, name: str, frame: bytes) -> None:
        self.calls.append((name, unpack_call(frame)))


def test_a_call_for_what_a_worker_says_takes_along_what_it_is_told(inbox: Inbox) -> None:
    seat = Calls()
    wire = RayWire(inbox, seat, 1, "{}")
    wire.send(b"job")
    assert seat.calls == [("exchange", Call(1, 0, 0.1, [b"job"]))]
    seat.answer(b"ready", b"a")
    assert inbox.wait([wire], 10) == [wire] and wire.receive() == b"ready"
    wire.send(b"more")
    wire.send(b"and more, while the seat has been asked already")
    assert [(name, call.first) for name, call in seat.calls[1:]] == [("exchange", 1), ("send", 2)]
    assert inbox.wait([wire], 0) == [wire] and wire.receive() == b"a"
    assert inbox.wait([wire], 0.01) == []


def test_no_seat_is_asked_for_more_before_its_answer_is_in_the_inbox() -> None:
    """Else a second answer, in another of Ray's threads, might come in before the first."""

    class BusyInbox(Inbox):
        """Machine 0 sends something as an answer comes in."""

        def put(self, wire: RayWire, messages: Sequence[bytes | None]) -> None:
            if messages:
                wire.send(b"meanwhile")
            super().put(wire, messages)

    seat, inbox = Calls(), BusyInbox()
    wire = RayWire(inbox, seat, 1, "{}")
    wire.send(b"job")
    seat.answer(b"a")
    assert [name for name, _ in seat.calls] == ["exchange", "send"]
    assert inbox.wait([wire], 0) == [wire] and wire.receive() == b"a"
    assert inbox.wait([wire], 0.01) == [] and seat.calls[-1][0] == "exchange"


def test_a_worker_that_is_told_something_as_it_begins_has_one_call_that_listens() -> None:
    class BusyInbox(Inbox):
        """Machine 0 sends something as the worker's begin comes in."""

        def put(self, wire: RayWire, messages: Sequence[bytes | None]) -> None:
            if not messages:
                wire.send(b"job")
            super().put(wire, messages)

    seat, inbox = Calls(), BusyInbox()
    wire = RayWire(inbox, seat, 1, "{}")
    assert inbox.wait([wire], 0.01) == []
    assert [name for name, _ in seat.calls] == ["exchange"]


class SeatThatLacks(Calls):
    """A seat whose node lacks a model until the store has it."""

    def __init__(self) -> None:
        super().__init__()
        begun, self.begun_with = self.start.remote, list[Any]()
        lacks: Future[Any] = Future()
        lacks.set_result(json.dumps({"lacking": ["/a"], "node": "node 10.0.0.1"}))

        def start(life: int, spec: str) -> Any:
            needs = json.loads(spec)["needs"]
            self.begun_with.append(needs)
            return begun() if needs["stored"] else SimpleNamespace(future=lambda: lacks)

        self.start = SimpleNamespace(remote=start)


def test_a_worker_waits_on_its_node_for_a_model_until_the_store_has_it(inbox: Inbox) -> None:
    seat = SeatThatLacks()
    wire = RayWire(inbox, seat, 1, json.dumps({"work": "w", "needs": {"stored": {}}}))
    wire.send(b"job")
    assert (wire.lacking, wire.is_waiting, inbox.wait([wire], 0.01)) == (["/a"], True, [])
    wire.begin_with({"stored": {"/a": {}}})
    assert (wire.lacking, wire.begun) == ([], True)
    assert inbox.wait([wire], 0.01) == [] and seat.calls[0][1].messages == [b"job"]


def test_a_worker_whose_model_will_not_come_is_refused(inbox: Inbox) -> None:
    wire = RayWire(inbox, SeatThatLacks(), 1, json.dumps({"needs": {"stored": {}}}))
    wire.refuse("no right to write there")
    assert inbox.wait([wire], 0.01) == [wire]
    assert wire.reap() == Ending(None, refused="no right to write there")


def test_a_seat_is_asked_for_more_once_all_that_it_said_is_read(inbox: Inbox) -> None:
    seat = Calls()
    wire = RayWire(inbox, seat, 1, "{}")
    assert inbox.wait([wire], 0.01) == []
    seat.answer(b"a", b"b")
    for message in (b"a", b"b"):
        assert inbox.wait([wire], 0) == [wire] and len(seat.answers) == 1
        assert wire.receive() == message
    assert inbox.wait([wire], 0.01) == [] and len(seat.answers) == 2
    seat.answer(b"last words", code=1)
    assert inbox.wait([wire], 0) == [wire] and wire.receive() == b"last words"
    with pytest.raises(EOFError):
        wire.receive()
    assert inbox.wait([wire], 0) == [wire] and len(seat.answers) == 2
    assert wire.reap() == Ending(1)


@pytest.mark.parametrize(
    ("workers", "silence", "pause"),
    [(8, 600.0, 0.1), (100, 600.0, 0.2), (1000, 600.0, 2.0), (5000, None, 2.0), (1000, 3.0, 1.0)],
)
def test_seats_gather_for_longer_where_there_are_many_but_not_until_a_worker_seems_hung(
    inbox: Inbox, workers: int, silence: float | None, pause: float
) -> None:
    seat = Calls()
    wire = RayWire(inbox, seat, 1, "{}", silence)
    inbox.wait([wire] * workers, 0.01)
    assert [call.pause for _, call in seat.calls] == [pause]
