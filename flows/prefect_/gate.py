"""A gate that asks in Prefect's UI: the flow run is suspended, and its slot is free meanwhile."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run

from evaluation.gates.answers import Question, now, said
from flows.prefect_.deployed import deployment_id

# A flow run takes its answer seconds after it starts; that of a machine that died stays Running.
_ALIVE = timedelta(hours=1)


class GateAnswer(RunInput):
    """The form in the UI."""

    decision: Literal["promote", "stop", "last_good"]
    why: str = ""
    who: str = ""


def flow_run_id() -> str | None:
    """This flow run's, where it may be suspended: where a deployment has started it."""
    return str(flow_run.id) if deployment_id() else None


def wait(folder: Path, question: Question) -> GateAnswer:
    """Suspend this flow run until somebody answers; on its second way through, the answer.

    Raises:
        BaseException: Prefect's signal, which ends the process.
    """
    verdict = said(folder)
    lines = [f"**{folder}**: {verdict.outcome}", *verdict.says] if verdict else []
    text = "\n\n".join(lines)
    form = GateAnswer.with_initial_data(description=text)
    left = (datetime.fromisoformat(question.until) - now()).total_seconds()
    key = f"{folder.name}-{question.verdict}"
    return suspend_flow_run(wait_for_input=form, timeout=max(1, int(left)), key=key)


def is_resumed(asked_by: str | None) -> bool:
    """Whether the flow run that has asked was answered in the UI, and is yet to take the answer."""
    state = state_of(asked_by) if asked_by else None
    if state is None or state.is_scheduled():
        return state is not None
    is_alive = now() - state.timestamp < _ALIVE
    return is_alive and (state.is_pending() or state.is_running())


def state_of(flow_run: str) -> State | None:
    """The state of a flow run; None of one that is not on the server any more."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_flow_run(UUID(flow_run)).state
        except ObjectNotFound:
            return None


def wake_at(question: Question) -> None:
    """Start this deployment once more when the time is over: it takes what then stands. The same
    question starts it once, however often it is asked."""
    deployment = deployment_id()
    assert deployment, "only a deployment's flow run asks"
    run_deployment(
        deployment,
        parameters={"next_round": False},
        scheduled_time=datetime.fromisoformat(question.until),
        timeout=0,
        as_subflow=False,
        idempotency_key=f"{deployment}-{question.verdict}-{question.until}",
    )
