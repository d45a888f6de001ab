"""A flow that is stopped ends as Cancelled, and its command with the signal that stopped it."""

import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn
from uuid import UUID, uuid4

import pytest
from prefect.exceptions import Pause, TerminationSignal
from prefect.states import Cancelling, Paused, Running, State, Suspended

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


def test_a_suspended_flow_ends_so_that_prefect_starts_it_again_when_it_is_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stop._Stop, "suspended", Suspended())
    with pytest.raises(Pause) as ended:
        flow_that_meets(SIGTERM)()
    assert ended.value.state is stop._Stop.suspended
    task = stop.stopped(SIGTERM)
    assert task.is_cancelled() and task.name == "Suspended"


class Server:
    """Prefect's, with one flow run."""

    def __init__(self, state: State[Any]) -> None:
        self.state = state

    def read_flow_run(self, _: UUID) -> SimpleNamespace:
        return SimpleNamespace(state=self.state)

    def set_flow_run_state(self, _: UUID, state: State[Any], force: bool) -> None:
        self.state = state


@pytest.mark.parametrize(("state", "is_deployed", "left"), [
    (Suspended(), True, "Suspended"),
    (Paused(), True, "Suspended"),  # else it is Running once resumed, in no process
    (Suspended(), False, "Cancelling"),  # else it never ends: no deployment starts it again
    (Cancelling(), False, "Cancelling"),
])  # fmt: skip
def test_a_flow_run_is_ended_once_it_is_suspended_or_cancelled_in_prefect(
    state: State[Any], is_deployed: bool, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("by", None), ("in_prefect", False), ("suspended", None)):
        monkeypatch.setattr(stop._Stop, name, value)
    server = Server(state)
    assert stop._is_asked_to_end(server, uuid4(), is_deployed)  # type: ignore[arg-type]
    assert server.state.name == left
    assert (stop._Stop.suspended is not None) is is_deployed


def test_a_flow_run_goes_on_where_its_runner_ends_it_or_a_gate_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stop._Stop, "by", None)
    asking = Suspended()
    asking.state_details.run_input_keyset = {"schema": "gate"}
    for state in (Cancelling(), asking, Running()):
        assert not stop._is_asked_to_end(Server(state), uuid4(), True)  # type: ignore[arg-type]
