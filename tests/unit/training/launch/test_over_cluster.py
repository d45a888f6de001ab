"""How often nodes may be lost, and what the processes of a cluster are told to do."""

import json
from pathlib import Path

import pytest

from contracts.errors import OnPolicyError
from runtime.cluster.group import Lost
from training.config import TrainConfig, TrainResources
from training.launch.job import write_job
from training.launch.over_cluster import _job_of, _Losses

LOST = Lost("node 10.0.0.2 was lost")


def step(done: int) -> str:
    reading = {"done": done, "total": 90, "unit": "steps", "resumed": 0, "seconds": 1.0, "note": ""}
    return f"::progress {json.dumps(reading)}"


def test_nodes_may_be_lost_as_long_as_training_gets_on() -> None:
    losses = _Losses()
    for done in range(1, 30):
        assert [*losses.watch(["a line", step(done)])] == ["a line", step(done)]
        losses.count(LOST)


def test_nodes_lost_ten_times_without_a_step_further_end_the_stage() -> None:
    losses = _Losses()
    [*losses.watch([step(40)])]
    for _ in range(9):
        losses.count(LOST)
        [*losses.watch([step(30), step(40)])]
    with pytest.raises(OnPolicyError, match=r"10.0.0.2 was lost: that is the 10th time in a row"):
        losses.count(LOST)


def test_each_start_has_a_job_of_its_own_name_which_goes_with_it(tmp_path: Path) -> None:
    config = TrainConfig(resources=TrainResources(processes=16))
    job = write_job(tmp_path / "job.json", config, tmp_path / "tokens", "owner/name", tmp_path)
    fewer = config.resources.model_copy(update={"processes": 8, "threads": 4})
    names = set()
    for _ in range(2):
        with _job_of(fewer, job) as path:
            names.add(path.name)
            told = json.loads(path.read_text())
            read = TrainConfig.model_validate(told.pop("config"))
            assert (read.resources, read.learning_rate) == (fewer, config.learning_rate)
            assert told.items() <= json.loads(job.read_text()).items()
            assert path.parent == tmp_path
    assert len(names) == 2
    assert [*tmp_path.iterdir()] == [job]
