"""Which machine of several this is, and what the first one tells the others."""

from pathlib import Path

import pytest

from contracts.errors import UserError
from training.config import TrainResources
from training.launch.machines import FILE, Launch, announced, machine_rank, read_launch


def test_a_machines_number_comes_from_the_config_or_the_launcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MACHINE_RANK", "NODE_RANK", "SLURM_NODEID"):
        monkeypatch.delenv(name, raising=False)
    assert machine_rank(TrainResources(machines=3)) == 0
    assert machine_rank(TrainResources(machines=3, machine_rank=2)) == 2
    monkeypatch.setenv("SLURM_NODEID", "1")
    assert machine_rank(TrainResources(machines=3)) == 1
    assert (
        machine_rank(TrainResources()) == 0
    )  # a job of one machine, on a node that is not the first
    with pytest.raises(UserError, match="is none of 3 machines"):
        machine_rank(TrainResources(machines=3, machine_rank=3))


def test_a_launch_is_withdrawn_when_it_has_ended(tmp_path: Path) -> None:
    resources = TrainResources(machines=2, main_address="host0", main_port=1234)
    with announced(resources, tmp_path / "job.json", "training.loop.worker") as launch:
        assert isinstance(launch, Launch)
        assert read_launch(tmp_path / FILE) == launch
        assert (launch.address, launch.port) == ("host0", 1234)
    assert read_launch(tmp_path / FILE) is None
