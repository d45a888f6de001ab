"""Which process of a group is where, and what it is told of the others."""

import pytest

from runtime.cluster.ranks import Place, by_rank, cores_each, environments

# As Ray may place five processes: not a node's beside each other.
PLACES = [
    Place("b", "10.0.0.2", "host-b", ["3"], 32),
    Place("a", "10.0.0.1", "host-a", ["0"], 16),
    Place("b", "10.0.0.2", "host-b", ["5"], 32),
    Place("a", "10.0.0.1", "host-a", ["1"], 16),
    Place("a", "10.0.0.1", "host-a", ["2"], 16),
]


@pytest.mark.parametrize(
    ("machine", "order"),
    [("host-a", [1, 3, 4, 0, 2]), ("host-b", [0, 2, 1, 3, 4]), ("elsewhere", [0, 2, 1, 3, 4])],
)
def test_a_nodes_processes_have_neighbouring_ranks_and_this_machines_the_first(
    machine: str, order: list[int]
) -> None:
    assert by_rank(PLACES, machine) == order


def test_each_process_is_told_its_place_and_where_all_meet() -> None:
    told = environments([PLACES[number] for number in by_rank(PLACES, "host-a")], 29400)
    assert {(one["WORLD_SIZE"], one["MASTER_ADDR"], one["MASTER_PORT"]) for one in told} == {
        ("5", "10.0.0.1", "29400")
    }
    names = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "CUDA_VISIBLE_DEVICES")
    assert [tuple(one[name] for name in names) for one in told] == [
        ("0", "0", "3", "0,1,2"), ("1", "1", "3", "0,1,2"), ("2", "2", "3", "0,1,2"),
        ("3", "0", "2", "3,5"), ("4", "1", "2", "3,5"),
    ]  # fmt: skip


def test_without_gpus_none_are_named() -> None:
    (told,) = environments([Place("a", "10.0.0.1", "host-a", [], 4)], 1)
    assert "CUDA_VISIBLE_DEVICES" not in told


def test_a_processs_cores_are_those_of_the_fullest_node() -> None:
    assert cores_each(PLACES) == 5
    assert cores_each(PLACES[:1]) == 32
    assert cores_each([Place("a", "10.0.0.1", "host-a", [], 1)] * 2) == 1
