"""How many workers fit which clusters."""

import pytest

from contracts.errors import UserError
from runtime.cluster.seating import Node, Request, Seating, refuse_few, seating


def cluster(*nodes: tuple[int, int]) -> list[Node]:
    """Nodes by their CPUs and GPUs."""
    return [Node(f"id{i}", f"10.0.0.{i}", cpus, gpus) for i, (cpus, gpus) in enumerate(nodes)]


EIGHT, FOUR, CPU_ONLY = (96, 8), (48, 4), (16, 0)


@pytest.mark.parametrize(
    ("nodes", "request_", "expected", "room"),
    [
        (cluster(EIGHT, FOUR, CPU_ONLY), Request(None, 1, 1), Seating(1, 0, None), 12),
        (cluster(EIGHT, FOUR), Request(None, 4, 1), Seating(4, 0, None), 3),
        (cluster(EIGHT, FOUR), Request(None, 8, 1), Seating(8, 0, None), 1),
        (cluster(EIGHT, FOUR), Request(5, 2, 1), Seating(2, 0, 5), 5),
        (cluster(FOUR), Request(16, 1, 1), Seating(1, 0, 16), 4),
        (cluster(CPU_ONLY, CPU_ONLY), Request(None, 1, 1), Seating(0, 16, 1), 1),
        (cluster(CPU_ONLY, (3, 0)), Request(4, 1, 1), Seating(0, 4, 4), 4),
        (cluster((2, 0), (1, 0)), Request(4, 1, 1), Seating(0, 1, 4), 4),
        (cluster(EIGHT), Request(3, 0, 0), Seating(0, 32, 3), 3),
        (cluster(CPU_ONLY), Request(None, 1, 0), Seating(0, 0, 0), 0),
    ],
)  # fmt: skip
def test_there_is_a_worker_for_each_group_of_gpus_on_any_node_or_as_many_as_are_asked_for(
    nodes: list[Node], request_: Request, expected: Seating, room: int
) -> None:
    assert seating(nodes, request_) == expected
    assert expected.room(nodes) == room


@pytest.mark.parametrize(
    ("nodes", "request_", "message"),
    [
        (cluster(FOUR, FOUR), Request(None, 8, 1),
         r"needs 8 GPUs on one node, and the largest \(node 10.0.0.0\) has 4; lower tensor"),
        (cluster((0, 0)), Request(4, 1, 1), r"needs a GPU or a CPU, and none of the nodes has"),
    ],
)  # fmt: skip
def test_a_cluster_that_no_worker_fits_is_refused(
    nodes: list[Node], request_: Request, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        seating(nodes, request_)


def test_a_node_that_comes_makes_room_and_one_that_goes_takes_it() -> None:
    seats = seating(cluster(EIGHT), Request(None, 4, 1))
    assert seats.room(cluster(EIGHT, FOUR)) == 3
    assert seats.room(cluster(FOUR)) == 1
    assert seats.room([]) == 0


def test_a_stage_that_asks_for_no_worker_uses_no_node_and_is_not_refused() -> None:
    nodes, request = cluster(CPU_ONLY, (0, 0)), Request(None, 1, 0)
    refuse_few(nodes, request)
    seats = seating(nodes, request)
    assert seats.at_once(nodes) == 0
    assert not any(seats.fits(node) for node in nodes)


@pytest.mark.parametrize(
    ("nodes", "processes", "fitting"),
    [(cluster(EIGHT, FOUR), 12, 12), (cluster(EIGHT, FOUR), 13, 12), (cluster(EIGHT, FOUR), 2, 2),
     (cluster(CPU_ONLY, (3, 0)), 19, 19), (cluster((2, 0), (1, 0)), 4, 3)],
)  # fmt: skip
def test_processes_that_run_together_need_room_at_one_time(
    nodes: list[Node], processes: int, fitting: int
) -> None:
    request = Request(processes, 1, processes, together=True)
    assert seating(nodes, request).at_once(nodes) == fitting
    if fitting == processes:
        return refuse_few(nodes, request)
    told = rf"processes is {processes}, a [GC]PU each, and all nodes together have {fitting}; ask"
    with pytest.raises(UserError, match=told):
        refuse_few(nodes, request)
    return None
