"""A run that is stopped, by Ctrl-C, SIGTERM or from Prefect, ends as Cancelled in the UI; one that
is suspended there ends too, and Prefect starts it again when it is resumed.

Prefect calls a flow that a signal ends Crashed, and so its task; a flow run that no deployment has
started nobody cancels: it stays Cancelling while its work goes on. One that is suspended goes on
until its next task, which may be hours (3.9, `_flow_run_suspension.py`).
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
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import Pause, TerminationSignal
from prefect.runtime import flow_run
from prefect.states import Cancelled, Cancelling, Suspended

from contracts.errors import Interrupted, Terminated
from flows.prefect_.deployed import deployment_id
from runtime.signals import GO_ON, Sigterm

STOPS = (KeyboardInterrupt, Sigterm, TerminationSignal, Interrupted, Terminated)

_EVERY_SECONDS = 1.0


class _Stop:
    """How this process was stopped; it is stopped once."""

    by: BaseException | None = None
    in_prefect = False
    suspended: State[Any] | None = None
    """The flow run's, where it goes on later."""


def is_runners(stop: BaseException) -> bool:
    """Whether Prefect's runner has ended this process: it then tells the flow run's end itself."""
    return isinstance(stop, TerminationSignal) and get_intent() is not None


def stopped(by: BaseException) -> State[None]:
    """How a flow or task ends that was stopped; `refuse_stopped` raises it again."""
    _Stop.by = by
    if _Stop.suspended:
        return Cancelled(name="Suspended", message="suspended in Prefect; resume it there")
    why = "cancelled in Prefect" if _Stop.in_prefect or is_runners(by) else f"stopped{_signal(by)}"
    return Cancelled(name="Cancelled" if "Prefect" in why else "Stopped", message=f"{why}; {GO_ON}")


def ended(by: BaseException) -> State[None]:
    """How a flow ends that was stopped.

    Raises:
        Pause: it is suspended; its state is so already, and Prefect takes this for its end.
    """
    if _Stop.suspended:
        raise Pause(state=_Stop.suspended) from by
    return stopped(by)


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
def ending_where_stopped() -> Iterator[None]:
    """Within, SIGTERM ends a flow run once its state in Prefect is Suspended, or Cancelling where
    no deployment has started it: else Prefect's runner ends it."""
    if not flow_run.id:
        yield
        return
    over = threading.Event()
    arguments = (UUID(flow_run.id), deployment_id() is not None, over)
    watch = threading.Thread(target=_watch, args=arguments, name="state watch", daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()


def _watch(flow_run_id: UUID, is_deployed: bool, over: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not over.wait(_EVERY_SECONDS):
            with suppress(Exception):  # a server that is gone stops nothing
                if _is_asked_to_end(client, flow_run_id, is_deployed):
                    os.kill(os.getpid(), signal.SIGTERM)
                    return


def _is_asked_to_end(client: SyncPrefectClient, flow_run_id: UUID, is_deployed: bool) -> bool:
    """By its state, which is made one that Prefect can go on from."""
    state = client.read_flow_run(flow_run_id).state
    if state is None or _Stop.by or _asks(state):
        return False
    if state.is_paused() and is_deployed:
        if not state.state_details.pause_reschedule:  # it would wait for this process to go on
            until = state.state_details.pause_timeout
            state = Suspended(pause_expiration_time=until)
            client.set_flow_run_state(flow_run_id, state, force=True)
        _Stop.suspended = state
        return True
    if state.is_paused():  # nobody would start it again
        client.set_flow_run_state(flow_run_id, Cancelling(), force=True)
    _Stop.in_prefect = not is_deployed and (state.is_paused() or state.is_cancelling())
    return _Stop.in_prefect


def _asks(state: State[Any]) -> bool:
    """Whether a gate has suspended it to ask, which ends the flow by itself."""
    return bool(state.state_details.run_input_keyset)


def _signal(stop: BaseException) -> str:
    return " by Ctrl-C" if isinstance(stop, KeyboardInterrupt | Interrupted) else " by SIGTERM"
