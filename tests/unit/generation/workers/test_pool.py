"""Who gets which requests when workers crash: the pool with workers that only seem to run."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.errors import OnPolicyError
from generation.config import SampleConfig
from generation.engine_kinds.transformers import TransformersEngine
from generation.engines import Batch, Job
from generation.engines.requests import Failure, Request
from generation.workers.handle import SamplingWorker
from generation.workers.pool import WorkerPool
from runtime.pool import deaths
from runtime.pool.listening import Listener
from runtime.pool.placement import Placement, Places
from runtime.pool.worker import Death, WorkerHandle

JOB = Job("some/policy", SampleConfig(engine=TransformersEngine()), [1], 8, 64)
CRASH = Death("IndexError: index out of range", from_outside=False, loading=False, hung=False)
KILL = Death("killed by SIGKILL", from_outside=True, loading=False, hung=False)
CAPACITY = 8
NOWHERE: Any = SimpleNamespace(place="", node="")

Polled = list[tuple[SamplingWorker, dict[str, Any] | None]]


class World:
    """Which requests crash an engine, which workers crash with any, and who is killed when."""

    def __init__(
        self, seed: int, poison: Sequence[int] = (), broken: Sequence[int] = (), kills: int = 0
    ) -> None:
        self.poison = {f"p{i}-0" for i in poison}
        self.broken = broken
        self.kills = kills
        self.starts = 0
        self.random = Random(seed)
        self.deaths: dict[int, Death] = {}

    def poll(self, members: list[SamplingWorker]) -> Polled:
        """One worker with work finishes a batch of it, or dies."""
        member = self.random.choice([one for one in members if one.busy])
        held = list(member._in_flight.values())
        if self.kills and self.random.random() < 0.2:
            self.kills -= 1
            self.deaths[member.number] = KILL
            return [(member, None)]
        ids = {request.response_id for batch in held for request in batch}
        if member.number in self.broken or ids & self.poison:
            self.deaths[member.number] = CRASH
            return [(member, None)]
        done = self.random.choice(held)
        outcomes = [{"response_id": r.response_id, "tokens": [1], "finish_reason": "stop"}
                    for r in done]  # fmt: skip
        return [(member, {"outcomes": outcomes})]

    def begin(self, member: WorkerHandle) -> None:
        self.starts += 1
        member.ready, member.about, member.wire = True, CAPACITY, NOWHERE


@pytest.fixture(params=range(20))
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Samples batches with workers of a world: ids of samples, ids of failures."""

    def run(
        world: World, workers: int, batches: list[Batch], places: Places | None = None
    ) -> tuple[list[str], list[str]]:
        monkeypatch.setattr(WorkerHandle, "begin", lambda self: world.begin(self))
        monkeypatch.setattr(WorkerHandle, "reap", lambda self: world.deaths[self.number])
        monkeypatch.setattr(WorkerHandle, "send", lambda self, **_: None)
        monkeypatch.setattr(WorkerHandle, "end", lambda self: None)
        monkeypatch.setattr(Listener, "poll", lambda _, members: world.poll(members))
        engine = WorkerPool(places or Placement(workers), JOB, 1)
        for batch in batches:
            engine.add(batch)
        outcomes = []
        while len(outcomes) < sum(map(len, batches)):
            outcomes += engine.step()
        failed = sorted(one.response_id for one in outcomes if isinstance(one, Failure))
        done = sorted(one.response_id for one in outcomes if not isinstance(one, Failure))
        return done, failed

    return run


def requests(count: int, batch: int = 1) -> list[Batch]:
    every = [Request(f"p{i}", 0, i, [1]) for i in range(count)]
    return [every[first : first + batch] for first in range(0, count, batch)]


def ids(numbers: Iterator[int] | Sequence[int] | range) -> list[str]:
    return sorted(f"p{i}-0" for i in numbers)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("workers", [2, 3, 8])
def test_a_broken_worker_is_left_out_after_two_crashes_and_every_request_is_answered(
    play: Any, seed: int, workers: int, batch: int, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(seed, broken=[0])
    assert play(world, workers, requests(96, batch)) == (ids(range(96)), [])
    assert world.starts <= workers + 2
    if world.starts == workers + 2:
        assert "worker 0 crashes with requests that others answer" in caplog.text


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_requests_that_crash_any_worker_are_the_only_failures(
    play: Any, seed: int, workers: int
) -> None:
    world = World(seed, poison=[3, 40, 41], kills=5)
    healthy = set(range(64)) - {3, 40, 41}
    assert play(world, workers, requests(64)) == (ids(sorted(healthy)), ids([3, 40, 41]))
    assert world.starts < 70


@pytest.mark.parametrize(("workers", "broken"), [(3, [0, 1]), (3, [1, 2]), (4, [0, 1, 3]),
                                                 (8, [0, 2, 3, 5, 7])])  # fmt: skip
@pytest.mark.parametrize("count", [1, 5, 96])
def test_beside_several_broken_workers_the_sound_one_answers_every_request(
    play: Any, seed: int, workers: int, broken: list[int], count: int
) -> None:
    assert play(World(seed, broken=broken), workers, requests(count)) == (ids(range(count)), [])


@pytest.mark.parametrize("broken", [[0, 1], [1, 2]])
def test_beside_several_broken_workers_bad_requests_are_the_only_failures(
    play: Any, seed: int, broken: list[int]
) -> None:
    world = World(seed, poison=[9, 40], broken=broken)
    healthy = sorted(set(range(64)) - {9, 40})
    assert play(world, 3, requests(64, 4)) == (ids(healthy), ids([40, 9]))


def test_beside_a_broken_worker_it_is_still_the_right_requests_that_fail(
    play: Any, seed: int
) -> None:
    world = World(seed, poison=[9], broken=[1])
    healthy = set(range(64)) - {9}
    assert play(world, 3, requests(64, 4)) == (ids(sorted(healthy)), ["p9-0"])


@pytest.mark.parametrize(("workers", "count"), [(1, 100), (1, 3001), (2, 100), (8, 100)])
def test_workers_that_all_crash_with_everything_end_the_stage_by_their_reason(
    play: Any, seed: int, workers: int, count: int
) -> None:
    """A GPU that fell off the bus is not loaded onto twice for each request."""
    world = World(seed, broken=range(workers))
    with pytest.raises(OnPolicyError, match=r"crashed \d+ times in a row .*index out of range"):
        play(world, workers, requests(count))
    assert world.starts <= 2 * workers + 10 + 2 * 3  # 8 requests held: 3 halvings


def test_bad_requests_side_by_side_are_found_and_not_taken_for_a_broken_worker(
    play: Any, seed: int
) -> None:
    world = World(seed, poison=range(4))
    assert play(world, 1, requests(64)) == (ids(range(4, 64)), ids(range(4)))


def test_workers_that_are_lost_with_their_nodes_are_begun_anew_however_many(play: Any) -> None:
    class Unsteady(World):
        def poll(self, members: list[SamplingWorker]) -> Polled:
            if self.starts < 40:
                for member in members:
                    self.deaths[member.number] = replace(KILL, reason="node n was lost", lost=True)
                return [(member, None) for member in members]
            return super().poll(members)

    world = Unsteady(0)
    assert play(world, 8, requests(64)) == (ids(range(64)), [])
    assert world.starts == 40


def test_a_node_that_refuses_its_workers_is_left_out_and_the_others_go_on(
    play: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(World):
        def poll(self, members: list[SamplingWorker]) -> Polled:
            refused = [member for member in members if member.number >= 2]
            for member in refused:
                reason = f"node 10.0.0.9 lacks {self.starts} things"
                self.deaths[member.number] = replace(CRASH, reason=reason, refused=True)
            return [(member, None) for member in refused] or super().poll(members)

    world = Refusing(0)
    assert play(world, 18, requests(64)) == (ids(range(64)), [])
    assert world.starts == 18 + 16
    assert "worker 17 cannot begin: node 10.0.0.9 lacks" in caplog.text


def test_workers_of_a_node_that_joins_in_mid_stage_get_work(play: Any) -> None:
    class Growing(Placement):
        def joined(self) -> int:
            return 2 if len(world.began) == 1 else 0

    class Wide(World):
        began: set[int] = set()  # noqa: RUF012

        def begin(self, member: WorkerHandle) -> None:
            super().begin(member)
            self.began.add(member.number)

    world = Wide(0)
    assert play(world, 1, requests(64), Growing(1)) == (ids(range(64)), [])
    assert world.began == {0, 1, 2}


def test_a_pool_that_is_killed_again_and_again_for_want_of_memory_says_so(play: Any) -> None:
    class Starved(World):
        def poll(self, members: list[SamplingWorker]) -> Polled:
            self.deaths[members[0].number] = KILL
            return [(members[0], None)]

    with pytest.raises(OnPolicyError, match=r"10 times .*SIGKILL.; is there too little memory"):
        play(Starved(0), 1, requests(4))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_model_that_fails_to_load_for_the_same_reason_is_not_loaded_a_third_time(
    play: Any, workers: int
) -> None:
    class Misconfigured(World):
        def poll(self, members: list[SamplingWorker]) -> Polled:
            reason = "RuntimeError: Engine core initialization failed"
            for member in members:
                self.deaths[member.number] = Death(reason, False, loading=True, hung=False)
            return [(member, None) for member in members]

        def begin(self, member: WorkerHandle) -> None:
            self.starts += 1
            member.ready, member.wire = False, NOWHERE

    world = Misconfigured(0)
    with pytest.raises(OnPolicyError) as caught:
        play(world, workers, requests(4))
    assert "cannot load some/policy: RuntimeError: Engine core initializ" in str(caught.value)
    assert "too little memory" not in str(caught.value)
    assert world.starts == 2 * workers


def test_a_worker_that_hangs_while_it_loads_is_left_out_at_once_and_the_others_go_on(
    play: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(World):
        def poll(self, members: list[SamplingWorker]) -> Polled:
            if members[0].number == 0:
                self.deaths[0] = Death("hung: silent", False, loading=True, hung=True)
                return [(members[0], None)]
            return super().poll(members)

    world = Stuck(0)
    assert play(world, 2, requests(8)) == (ids(range(8)), [])
    assert world.starts == 2
    assert "worker 0 cannot load some/policy: hung: silent; the other 1 go on" in caplog.text


def test_a_pool_on_a_cluster_tells_its_workers_and_its_work_by_node(
    play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnNodes(World):
        def begin(self, member: WorkerHandle) -> None:
            super().begin(member)
            node = f"node {member.number % 2}"
            member.wire = SimpleNamespace(place=node, node=node)  # type: ignore[assignment]

    rosters: list[Any] = []
    monkeypatch.setattr(deaths, "announce_spread", rosters.append)
    play(OnNodes(0), 3, requests(40))
    workers, shares = rosters[0]()
    assert workers == {"node 0": 2, "node 1": 1}
    assert set(shares) == set(workers) and sum(shares.values()) == pytest.approx(1.0)
