"""A schedule's runs start in a process of their own, to which Prefect pickles the flow by value."""

from pathlib import Path
from unittest.mock import AsyncMock, Mock
from uuid import UUID, uuid4

import anyio
import cloudpickle
import pytest
from minimal_run import config
from prefect.client.schemas.objects import FlowRun
from prefect.runner._flow_run_executor import FlowRunExecutor

from contracts.errors import UserError
from contracts.steps import lock
from flows.on_policy import on_policy
from flows.pipeline.config import RunConfig
from flows.prefect_ import runner_log


def test_a_served_flow_can_be_sent_to_the_process_that_runs_it() -> None:
    again = cloudpickle.loads(cloudpickle.dumps(on_policy))
    assert again.name == "on-policy"
    assert again.fn is not on_policy.fn  # by value indeed: else this test shows nothing


@pytest.fixture
def nightly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A run whose flow a schedule has started."""
    monkeypatch.setattr("flows.on_policy.deployment_id", lambda: str(uuid4()))
    monkeypatch.setattr(lock, "_LOCK_WAIT_SECONDS", 0.01)
    run = config(runs_dir=str(tmp_path))
    run.folder.mkdir(parents=True)
    return run


def test_a_scheduled_start_is_skipped_while_the_last_one_runs(nightly: RunConfig) -> None:
    with lock.folder_lock(nightly.folder):
        ended = on_policy.fn(nightly.model_dump(mode="json"))
    assert ended.name == "Skipped" and "is writing here" in ended.message


def test_a_scheduled_start_looks_at_its_run_with_the_lock_held(
    nightly: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a second start passes the same look, and fails once the first has the lock."""

    def look(*_: object) -> None:
        raise UserError(f"looked while {lock.holder_of(nightly.folder)} holds the run")

    monkeypatch.setattr("flows.on_policy.refuse_unready", look)
    monkeypatch.setattr("flows.on_policy.preload", lambda _: None)
    with pytest.raises(UserError, match="looked while process"):
        on_policy.fn(nightly.model_dump(mode="json"))
    assert lock.holder_of(nightly.folder) is None


def test_a_schedule_says_in_one_line_that_a_run_could_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prefect's own executor, with what it starts and whom it tells taken away."""
    said: list[str] = []
    monkeypatch.setattr(runner_log, "print_warning", said.append)
    runner_log.tell_failures()
    runner_log.tell_failures()  # once is enough
    silent = AsyncMock()
    silent.start.side_effect = FileNotFoundError("no such folder: /gone\nand much more")
    executor = FlowRunExecutor(
        flow_run=FlowRun(flow_id=uuid4(), id=UUID(int=7)), starter=silent, state_proposer=silent,
        process_manager=Mock(get=lambda _: None), hook_runner=silent,
        get_attempt_conclusion=lambda _: None,
    )  # fmt: skip
    anyio.run(executor.submit)
    cause = "FileNotFoundError: no such folder: /gone"
    assert said == [f"Flow run '{UUID(int=7)}' could not start: {cause}"]
