"""A gate that asks in Prefect's UI: the flow run is suspended, and its slot is free meanwhile."""

from datetime import datetime
from pathlib import Path
from typing import Literal

from prefect.deployments import run_deployment
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run

from evaluation.gates.answers import Question, now, said
from flows.prefect_.deployed import deployment_id


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


def wake_at(question: Question) -> None:
    """Start this deployment once more when the time is over: it takes what then stands."""
    deployment = deployment_id()
    assert deployment, "only a deployment's flow run asks"
    run_deployment(
        deployment,
        parameters={"next_round": False},
        scheduled_time=datetime.fromisoformat(question.until),
        timeout=0,
        as_subflow=False,
    )
