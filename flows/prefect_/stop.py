"""A run that is stopped, by Ctrl-C, SIGTERM or from Prefect, ends as Cancelled in the UI.

Prefect calls a flow that a signal ends Crashed, and so its task; and a flow run that no deployment
has started nobody cancels: it stays Cancelling while its work goes on.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

from prefect import State
from prefect._internal.control_listener import get_intent
from prefect.client.orchestration import get_client
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Cancelled

from contracts.errors import Interrupted, Terminated
from flows.prefect_.deployed import deployment_id
from runtime.signals import GO_ON, Sigterm

STOPS = (KeyboardInterrupt, Sigterm, TerminationSignal, Interrupted, Terminated)

_EVERY_SECONDS = 1.0


class _Stop:
    """How this process was stopped; it is stopped once."""

    by: BaseException | None = None
    in_prefect = False


def is_runners(stop: BaseException) -> bool:
    """Whether Prefect's runner has ended this process: it then tells the flow run's end itself."""
    return isinstance(stop, TerminationSignal) and get_intent() is not None


def stopped(by: BaseException) -> State[None]:
    """How a flow or task ends that was stopped; `refuse_stopped` raises it again."""
    _Stop.by = by
    why = "cancelled in Prefect" if _Stop.in_prefect or is_runners(by) else f"stopped{_signal(by)}"
    return Cancelled(name="Cancelled" if "Prefect" in why else "Stopped", message=f"{why}; {GO_ON}")


def refuse_stopped(ended: Any) -> None:
    """Go on unless what a task returned says that it was stopped.

    Raises:
        BaseException: what has stopped it.
    """
    if isinstance(ended, State) and ended.is_cancelled() and _Stop.by:
        raise _Stop.by


def told(stop: BaseException) -> BaseException:
    """What has stopped a flow, as `runtime.signals` tells it to a terminal."""
    if _Stop.in_prefect:
        return Terminated(f"cancelled in Prefect; {GO_ON}")
    return Sigterm() if isinstance(stop, TerminationSignal) else stop


@contextmanager
def ending_where_cancelled() -> Iterator[None]:
    """Within, a flow run that no deployment has started is ended by SIGTERM once its state in
    Prefect is Cancelling; a deployment's is ended by its runner."""
    if deployment_id() or not flow_run.id:
        yield
        return
    over = threading.Event()
    arguments = (UUID(flow_run.id), over)
    watch = threading.Thread(target=_watch, args=arguments, name="cancel watch", daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()


def _watch(flow_run_id: UUID, over: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not over.wait(_EVERY_SECONDS):
            with suppress(Exception):  # a server that is gone cancels nothing
                state = client.read_flow_run(flow_run_id).state
                if state and state.is_cancelling() and not _Stop.in_prefect:
                    _Stop.in_prefect = True
                    os.kill(os.getpid(), signal.SIGTERM)
                    return


def _signal(stop: BaseException) -> str:
    return " by Ctrl-C" if isinstance(stop, KeyboardInterrupt | Interrupted) else " by SIGTERM"
