"""A flow whose Prefect server dies ends as its own work ended.

Prefect reports a flow's end to its server, and raises where it can't (after a minute of trying):
finished work would fail, and a stage's own message would be lost. What is done is decided by
manifests alone, so the server's absence is a warning.
"""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from httpx import HTTPError
from prefect import Flow
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun, ObjectNotFound

from flows.pipeline.console import print_warning
from flows.prefect_ import stop

P = ParamSpec("P")
R = TypeVar("R")

_UNREACHABLE = (HTTPError, ObjectNotFound)


class _Outcome:
    """How a flow's own work ended, whatever became of telling so."""

    begun = False
    value: Any = None
    error: BaseException | None = None
    ended = False


class Server:
    """Whether Prefect's server is gone: a command then ends without waiting to tell it more."""

    gone = False


_outcome: ContextVar[_Outcome | None] = ContextVar("outcome", default=None)


def _outcome_here() -> _Outcome:
    return _outcome.get() or _Outcome()


def remembered(work: Callable[P, R]) -> Callable[P, R]:
    """Put this under `@flow`, so that `run_flow` knows how the work ended, and a flow that was
    stopped is Cancelled or Suspended.

    A schedule pickles the flow by value, so what is in here names no context variable itself.
    """

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        outcome = _outcome_here()
        outcome.begun = True
        try:
            with stop.ending_where_stopped():
                outcome.value = work(*args, **kwargs)
        except BaseException as error:
            outcome.error = error
            if not isinstance(error, stop.STOPS) or stop.is_runners(error):
                raise
            return stop.ended(error)  # type: ignore[return-value]
        outcome.ended = True
        return outcome.value

    return run


def run_flow(flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a flow; where its server dies meanwhile, its work all the same.

    Raises:
        Exception: the work's own; or Prefect's, where the work could not begin.
    """
    outcome = _Outcome()
    token = _outcome.set(outcome)
    try:
        return flow(*args, **kwargs)
    except CancelledRun:
        if outcome.error is None:
            raise
        raise stop.told(outcome.error) from None
    except _UNREACHABLE as error:
        Server.gone = True
        if outcome.error:
            stopped = isinstance(outcome.error, stop.STOPS)
            raise stop.told(outcome.error) if stopped else outcome.error from None
        if outcome.ended:
            print_warning(
                f"Prefect's server is gone ({type(error).__name__}), so its UI does not show how "
                f"{flow.name!r} ended: it is finished, and all of its work is kept"
            )
            return outcome.value
        if outcome.begun or FlowRunContext.get() is None:
            raise
        # A flow inside of one that has lost its server: its tasks need none.
        return flow.fn(*args, **kwargs)
    finally:
        _outcome.reset(token)
