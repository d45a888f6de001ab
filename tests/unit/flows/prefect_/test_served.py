"""A schedule's runs start in a process of their own, to which Prefect pickles the flow by value."""

from unittest.mock import AsyncMock, Mock
from uuid import UUID, uuid4

import anyio
import cloudpickle
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.runner._flow_run_executor import FlowRunExecutor

from flows.on_policy import on_policy
from flows.prefect_ import runner_log


def test_a_served_flow_can_be_sent_to_the_process_that_runs_it() -> None:
    again = cloudpickle.loads(cloudpickle.dumps(on_policy))
    assert again.name == "on-policy"
    assert again.fn is not on_policy.fn  # by value indeed: else this test shows nothing


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
