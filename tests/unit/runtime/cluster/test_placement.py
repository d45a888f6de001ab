"""Seats that are begun, replaced and freed, without a cluster."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from contracts.errors import OnPolicyError, UserError
from runtime.cluster import placement, session
from runtime.cluster.config import RayCluster
from runtime.cluster.needs import needs_of
from runtime.cluster.placement import RayPlacement
from runtime.cluster.seating import Node, Request
from runtime.store.objects import StoreError


class Wire:
    """A worker that never speaks."""

    begun = seat_is_gone = is_dropped = False
    refused_at: float | None = None

    def __init__(self, inbox: Any, seat: str, life: int, spec: str, silence: None) -> None:
        self.seat, self.life = seat, life
        self.lacking: list[str] = []
        self.is_waiting, self.asked_at = True, time.monotonic()
        self.stored: list[str] = []
        self.refusal = ""

    def begin_with(self, needs: dict[str, Any]) -> None:
        self.lacking, self.stored = [], [*needs["stored"]]

    def refuse(self, why: str) -> None:
        self.lacking, self.refusal = [], why


class Places(RayPlacement):
    """Its seats have numbers."""

    seats = 0

    def _new_seat(self) -> str:
        self.seats += 1
        return f"seat {self.seats}"


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The seats that are ended."""
    ended: list[str] = []
    monkeypatch.setattr(ray, "kill", ended.append)
    return ended


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, killed: list[str]) -> Iterator[Places]:
    """A cluster of one node with two GPUs."""
    monkeypatch.setattr(placement, "connect", lambda _: False)
    monkeypatch.setattr(placement, "refuse_lost", lambda: None)
    monkeypatch.setattr(placement, "nodes", lambda: [Node("id", "10.0.0.1", 8, 2)])
    monkeypatch.setattr(placement, "RayWire", Wire)
    monkeypatch.setattr(placement, "_WATCH_SECONDS", 600.0)  # the tests look for themselves
    made = Places(RayCluster(), Request(None, 1, 1))
    yield made
    made.close()


def start(places: Places, number: int) -> Any:
    return places.start(number, signal.getsignal, None)


def test_room_is_counted_beside_the_workers_that_have_a_seat(places: Places) -> None:
    start(places, 0)
    assert (places.joined(), places.joined()) == (1, 1)
    start(places, 1)
    assert places.joined() == 0
    places._seen = 4
    assert places.joined() == 2
    start(places, 2)
    places._seen = 2
    assert places.joined() == 0


def test_a_node_that_refused_a_worker_is_tried_again_after_a_while(
    places: Places, killed: list[str]
) -> None:
    refused, broken = start(places, 0), start(places, 1)
    broken.is_dropped = refused.is_dropped = True
    refused.refused_at = time.monotonic()
    assert (places.joined(), killed) == (0, [])
    refused.refused_at -= placement._MEND_SECONDS
    assert (places.joined(), killed) == (1, [refused.seat])
    assert start(places, 2).seat == "seat 3"
    assert places.joined() == 0


def test_a_seat_that_is_gone_is_ended_before_another_takes_its_place(
    places: Places, killed: list[str]
) -> None:
    first = start(places, 0)
    assert (start(places, 0).seat, killed) == (first.seat, [])
    places._wires[0].seat_is_gone = True
    assert start(places, 0).seat == "seat 2"
    assert killed == ["seat 1"]


def test_where_ray_has_lost_the_cluster_the_stage_ends_and_no_cluster_is_begun_here(
    places: Places, killed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(places, 0)
    monkeypatch.setattr(placement, "refuse_lost", session.refuse_lost)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda: pytest.fail("a cluster of this machine alone"))
    with pytest.raises(OnPolicyError, match=r"the Ray cluster is gone .* run the same command"):
        start(places, 1)
    places.close()
    assert killed == []


def test_workers_that_no_node_has_room_for_are_told_once(
    places: Places, caplog: pytest.LogCaptureFixture
) -> None:
    workers = [start(places, number) for number in range(2)]
    assert places._tell_late(0) == 0
    workers[1].asked_at -= placement._LATE_SECONDS
    assert (places._tell_late(0), places._tell_late(1)) == (1, 1)
    (told,) = caplog.messages
    assert told.startswith("1 of 2 workers have not begun for 60 s: other jobs may hold")
    workers[1].is_waiting = False
    assert places._tell_late(1) == 0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def waits_for(places: Places, model: Path, store: Path) -> Any:
    """A worker of a node that came later, and lacks the model."""
    places._needs = needs_of([str(model)], [], f"file://{store}")
    worker = start(places, 0)
    worker.lacking = [str(model)]
    return worker


def test_what_a_node_that_came_later_lacks_is_brought_to_the_store_and_its_worker_begins(
    places: Places, tmp_path: Path, model: Path
) -> None:
    (tmp_path / "store").mkdir()
    worker = waits_for(places, model, tmp_path / "store")
    places._deliver_late()
    places._delivery.join()
    places._deliver_late()
    assert worker.stored == [str(model)]


def test_a_worker_that_was_ended_as_it_waited_for_a_model_does_not_begin(
    places: Places, tmp_path: Path, model: Path
) -> None:
    worker = waits_for(places, model, tmp_path)
    places._needs["stored"][str(model)] = {}
    worker.is_waiting = False
    places._deliver_late()
    assert worker.stored == [] and not places._delivery.is_alive()


def test_while_a_model_is_brought_to_the_store_nodes_are_watched(
    places: Places, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = threading.Event()
    monkeypatch.setattr(placement, "delivered", lambda needs, _: pushed.wait() and needs)
    waits_for(places, model, tmp_path)
    places._deliver_late()
    delivery = places._delivery
    places._deliver_late()
    assert places._delivery is delivery and delivery.is_alive()
    pushed.set()
    delivery.join()


def failing(fault: Exception) -> Any:
    def fail(*_: object) -> None:
        raise fault

    return fail


@pytest.mark.parametrize("fault", [OnPolicyError("the store is down"), OSError("it is gone")])
def test_a_model_that_cannot_be_brought_to_the_store_is_told_and_tried_again_after_a_while(
    places: Places, tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture, fault: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(placement, "delivered", failing(fault))
    worker = waits_for(places, model, tmp_path)
    message = f"nodes lack {model}, which is tried again in 300 s: {fault}"
    for times, elapsed in ((1, 0.0), (1, 0.0), (2, placement._MEND_SECONDS)):
        places._deliver_at -= elapsed
        places._deliver_late()
        places._delivery.join()
        assert caplog.messages == [message] * times
    assert worker.lacking == [str(model)] and not worker.refusal


@pytest.mark.parametrize(
    "fault", [UserError("another model is there"), StoreError("no right", is_refusal=True)]
)
def test_a_worker_that_waits_for_a_model_which_will_not_come_is_refused(
    places: Places, tmp_path: Path, model: Path, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "delivered", failing(fault))
    worker = waits_for(places, model, tmp_path)
    places._deliver_late()
    places._delivery.join()
    assert worker.refusal == f"its node lacks {model}: {fault}"
