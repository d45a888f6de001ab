"""What becomes of a worker whose seat, or its node, fails: Ray's own errors, without a cluster."""

import json
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

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
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.close()


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
        self.receive = self.kill = SimpleNamespace(remote=self.fail)

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
