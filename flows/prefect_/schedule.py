"""Serving a flow on a schedule, as a deployment of the user's own Prefect server."""

from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import EntrypointType  # type: ignore[attr-defined]
from prefect.states import Completed

from contracts.errors import FolderBusy, UserError
from flows.prefect_.run_server import ensure_server, has_server
from flows.prefect_.runner_log import tell_failures


def refuse_unserved(cron: str) -> None:
    """Refuse what could not be served.

    Raises:
        UserError: the cron expression is not valid, or there is no server that stays, or it does
            not answer.
    """
    try:
        CronSchedule(cron=cron)
    except ValueError:
        raise UserError(f"--cron {cron!r}: not a cron expression; e.g. '0 2 * * *'") from None
    if not has_server():
        raise UserError(
            "a schedule needs a Prefect server that stays: `onpolicy server`,"
            " and PREFECT_API_URL=http://127.0.0.1:4200/api in the environment"
        )
    ensure_server()


def serve(flow: Flow[..., Any], name: str, cron: str, parameters: dict[str, Any]) -> None:
    """Start a run of the flow whenever `cron` says so, until this process is stopped."""
    tell_failures()
    flow.serve(
        name=name,
        cron=cron,
        parameters=parameters,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def skipped(busy: FolderBusy) -> State[None]:
    """How a flow run ends whose run goes on in another: nothing has failed or is missed."""
    return Completed(name="Skipped", message=f"The last one goes on. {busy}")
