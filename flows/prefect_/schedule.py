"""Serving a flow on a schedule, as a deployment of the user's own Prefect server."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import TerminationSignal
from prefect.flows import EntrypointType  # type: ignore[attr-defined]
from prefect.settings import get_current_settings
from prefect.states import Completed

from contracts.errors import FolderBusy, UserError
from contracts.steps.lock import folder_lock, holder_of
from flows.prefect_.run_server import ensure_server, has_server
from flows.prefect_.runner_log import tell_failures

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Times:
    """When a schedule starts a run: one of the two."""

    cron: str | None = None
    """In UTC, as Prefect takes it where no time zone is given."""
    every: timedelta | None = None

    def __str__(self) -> str:
        return f"at {self.cron!r} (UTC)" if self.cron else f"every {self.every}"


def times(cron: str | None, every: str | None) -> Times:
    """Read `--cron` or `--every`.

    Raises:
        UserError: it is neither, both, or not to be read.
    """
    if bool(cron) == bool(every):
        raise UserError("give one of --cron '0 2 * * *' and --every 6h")
    if every:
        return Times(every=_period(every))
    try:
        CronSchedule(cron=cron or "")
    except ValueError:
        raise UserError(f"--cron {cron!r}: not a cron expression; e.g. '0 2 * * *'") from None
    return Times(cron=cron)


def _period(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9]\d{0,5})\s*([mhd])", text.strip())
    if match is None:
        raise UserError(f"--every {text!r}: write minutes, hours or days: 30m, 6h, 1d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


@contextmanager
def only_one(run: Path) -> Iterator[None]:
    """Serve a run's one schedule within. Two would be one deployment: it has the last one's times
    and settings, and whichever ends first pauses it for both (Prefect 3.9.1, `Runner`).

    Raises:
        UserError: another process serves one.
    """
    folder = run / ".schedule"
    folder.mkdir(exist_ok=True)
    if holder := holder_of(folder):
        raise UserError(f"{run}: {holder} serves a schedule of it already; stop that one first")
    with folder_lock(folder):
        yield


def refuse_unserved() -> None:
    """
    Raises:
        UserError: there is no server that stays, or it does not answer.
    """
    if not has_server():
        raise UserError(
            "a schedule needs a Prefect server that stays: `onpolicy server`,"
            " and PREFECT_API_URL=http://127.0.0.1:4200/api in the environment"
        )
    ensure_server()


def serve(flow: Flow[..., Any], name: str, when: Times, parameters: dict[str, Any]) -> None:
    """Start a run of the flow whenever its time has come, until this process is stopped."""
    from flows.prefect_.runner import Runner

    tell_failures()
    runner = Runner(name, str(get_current_settings().api.url))
    runner.add_flow(
        flow,
        name=name,
        cron=when.cron,
        interval=when.every,
        parameters=parameters,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    with suppress(KeyboardInterrupt, TerminationSignal):
        asyncio.run(runner.start())


def skipped(busy: FolderBusy) -> State[None]:
    """How a flow run ends whose run goes on in another: nothing has failed or is missed."""
    return Completed(name="Skipped", message=f"The last one goes on. {busy}")
