"""A store that cannot be used is told before anything is made."""

from collections.abc import Callable
from pathlib import Path

import pytest
from s3_server import S3
from stored_run import run

from contracts.errors import OnPolicyError, UserError
from flows.pipeline.config import RunConfig
from flows.pipeline.store.adopt import refuse_unusable
from runtime.store.objects import Objects

Machine = Callable[..., RunConfig]


def test_a_store_that_does_not_answer_at_the_start_is_told_before_anything_is_made(
    machine: Machine, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.pipeline.store.adopt.Objects", lambda a: Objects(a, retries=0))
    s3.faults.is_down = True
    config = machine("a", s3.bucket)
    with pytest.raises(OnPolicyError, match="Nothing was started") as failed:
        run(config)
    assert failed.value.exit_code == 1
    s3.faults.is_down = False
    with pytest.raises(UserError, match=r"NoSuchBucket") as refused:
        run(machine("a", "s3://no-such-bucket"))
    assert refused.value.exit_code == 2
    assert not (config.folder / "config.yaml").exists()


def refusal(config: RunConfig, match: str) -> str:
    """What a run is refused with, before anything is made."""
    with pytest.raises(UserError, match=match) as refused:
        run(config)
    assert not (config.folder / "config.yaml").exists()
    return str(refused.value)


def test_a_bucket_without_the_right_to_write_is_refused_before_anything_is_made(
    machine: Machine, s3: S3
) -> None:
    s3.faults.is_read_only = True
    told = refusal(machine("a", s3.bucket), r"resources\.store: s3://.* no right to do that")
    assert "Nothing was started" in told


def test_a_store_that_lets_two_machines_end_one_step_is_refused_before_anything_is_made(
    machine: Machine, s3: S3
) -> None:
    s3.faults.is_unconditional = True
    refusal(machine("a", s3.bucket), r"writes over an object .* `If-None-Match`")


@pytest.mark.parametrize("where", ["runs", "runs/test", "runs/test/store", "runs/store"])
def test_a_store_among_the_runs_is_refused_before_anything_is_made(
    machine: Machine, tmp_path: Path, where: str
) -> None:
    (tmp_path / "a" / where).mkdir(parents=True)
    config = machine("a", f"file://{tmp_path}/a/{where}")
    for refused_by in (refuse_unusable, run):
        with pytest.raises(UserError, match="a run's folder and its store must lie apart"):
            refused_by(config)
    assert not (config.folder / "config.yaml").exists()


def test_runs_in_a_folder_of_the_store_named_as_one_of_them_are_refused(
    machine: Machine, tmp_path: Path
) -> None:
    config = machine("a", f"file://{tmp_path}/a")
    with pytest.raises(UserError, match="a run's folder and its store must lie apart"):
        run(config.model_copy(update={"name": "runs"}))
