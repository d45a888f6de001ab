"""Silence is counted while the starter listens, in slices, and ends a worker that hangs."""

from collections.abc import Sequence
from typing import Any

import pytest

from contracts.errors import UserError
from runtime.pool import listening
from runtime.pool.listening import Listener
from runtime.pool.messages import pack
from runtime.pool.wire import Ending
from runtime.pool.worker import Patience, WorkerHandle

PATIENCE = 100.0


class Wire:
    """To a worker that says the same again and again, until it is killed."""

    place = ""
    begun = True
    killed = False

    def send(self, data: bytes) -> None:
        """Nobody reads it."""

    def receive(self) -> bytes:
        return pack({"done": 1})

    def kill(self) -> None:
        self.killed = True


class World:
    """Places whose clock the test moves: of each wait, its seconds and who speaks."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seconds = 0.0
        self.speaking: list[Any] = []
        self.longest: float | None = None

    def monotonic(self) -> float:
        return self.now

    def start(self, *_: object) -> Wire:
        return Wire()

    def wait(self, wires: Sequence[Wire], seconds: float | None) -> list[Wire]:
        self.now += self.seconds
        self.longest = seconds
        return [wire for wire in wires if wire in self.speaking]


class Handle(WorkerHandle):
    """Ready, and always busy."""

    busy = True

    def begin(self) -> None:
        super().begin()
        self.ready = True


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(listening.time, "monotonic", made.monotonic)
    return made


def workers(world: Any, count: int, patience: Patience) -> list[Any]:
    return [Handle(world, number, print, {}, patience, "nothing") for number in range(count)]  # type: ignore[arg-type]


def test_who_is_silent_for_too_long_is_ended_and_who_speaks_is_not(world: World) -> None:
    silent, speaks = pool = workers(world, 2, Patience(PATIENCE))
    world.seconds, world.speaking = 0.01, [speaks.wire]
    listener = Listener[Any]()
    while not silent.wire.killed:
        assert listener.poll(pool) == [(speaks, {"done": 1})]
    assert PATIENCE <= world.now < PATIENCE + 2
    assert not speaks.wire.killed
    assert world.longest == PATIENCE / 20


def test_a_starter_that_was_itself_held_up_takes_nobody_for_hung(world: World) -> None:
    pool = workers(world, 1, Patience(PATIENCE))
    world.seconds = 50 * PATIENCE
    Listener[Any]().poll(pool)
    assert not pool[0].wire.killed


def test_without_a_limit_it_waits_for_ever(world: World) -> None:
    pool = workers(world, 1, Patience(None))
    world.seconds = 1e9
    assert Listener[Any]().poll(pool) == []
    assert world.longest is None and not pool[0].wire.killed


class Refusing(Wire):
    """To a worker that cannot load what it should."""

    ended = False

    def receive(self) -> bytes:
        if self.ended:
            raise EOFError
        self.ended = True
        return pack({"refused": "bfloat16 needs another GPU"})

    def reap(self) -> Ending:
        return Ending(1)


def test_what_one_worker_refuses_and_another_has_loaded_ends_that_one_alone(world: World) -> None:
    ready, other = pool = workers(world, 2, Patience(None))
    other.ready, other.wire = False, Refusing()
    world.speaking = [other.wire]
    listener = Listener[Any]()
    with pytest.raises(UserError, match="bfloat16 needs another GPU"):
        listener.poll(pool)
    ready.about, other.wire.ended = 8, False
    assert (listener.poll(pool), listener.poll(pool)) == ([], [(other, None)])
    death = other.reap()
    assert (death.reason, death.refused, death.from_outside) == (
        "bfloat16 needs another GPU", True, False
    )  # fmt: skip
