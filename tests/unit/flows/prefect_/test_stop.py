"""A flow that is stopped ends as Cancelled, and its command with the signal that stopped it."""

import signal
from collections.abc import Callable
from typing import NoReturn

import pytest
from prefect.exceptions import TerminationSignal

from contracts.errors import OnPolicyError, Terminated
from flows.prefect_ import stop
from flows.prefect_.outage import remembered
from runtime.signals import Sigterm

SIGTERM = TerminationSignal(signal.SIGTERM)


def flow_that_meets(error: BaseException) -> Callable[[], object]:
    @remembered
    def work() -> NoReturn:
        raise error

    return work


@pytest.mark.parametrize(("by", "said"), [
    (KeyboardInterrupt(), "stopped by Ctrl-C; run the same command again"),
    (Sigterm(), "stopped by SIGTERM; run the same command again"),
    (SIGTERM, "stopped by SIGTERM; run the same command again"),
])  # fmt: skip
def test_a_signal_leaves_a_flow_cancelled_by_the_name_of_stopped(
    by: BaseException, said: str
) -> None:
    ended = flow_that_meets(by)()
    assert isinstance(ended, stop.State) and ended.is_cancelled() and ended.name == "Stopped"
    assert (ended.message or "").startswith(said)


def test_what_a_runner_ends_is_told_by_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "get_intent", lambda: "cancel")
    with pytest.raises(TerminationSignal):
        flow_that_meets(SIGTERM)()


def test_a_failure_is_no_stop() -> None:
    with pytest.raises(OnPolicyError):
        flow_that_meets(OnPolicyError("the loss is not finite"))()


def test_a_terminal_is_told_the_signal_or_that_somebody_has_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(stop.told(SIGTERM), Sigterm)
    assert isinstance(stop.told(KeyboardInterrupt()), KeyboardInterrupt)
    monkeypatch.setattr(stop._Stop, "in_prefect", True)
    told = stop.told(SIGTERM)
    assert isinstance(told, Terminated) and str(told).startswith("cancelled in Prefect; run the")
