"""A gate that asks under a schedule: whose answer counts, and when; Prefect's own part is another
test's (tests/flow/test_gate.py)."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from gated_run import JUDGED, make_gated
from prefect.client.schemas.objects import State, StateType

from contracts.errors import FolderBusy
from evaluation.gates.answers import now, read_answer, write_question
from flows import on_policy
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import claim_run
from flows.pipeline.planning.gates import asked_by, decide
from flows.pipeline.planning.next_steps import next_steps
from flows.prefect_ import gate


@pytest.fixture
def asking(settings: Callable[..., RunConfig]) -> RunConfig:
    """A run whose first round is worse, up to its gate."""
    run = settings(rounds=2, evaluation=JUDGED, gate={"worse": "ask"})
    run.folder.mkdir(parents=True)
    run = claim_run(run)
    make_gated(run, {1: "worse"})
    return run


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], list[str]]:
    """Pretends to be a flow run of a server where another one has some state since some hours."""

    def be(flow_run: str, other: str) -> list[str]:
        woken: list[str] = []
        answer = gate.GateAnswer(decision="promote", who="ada")
        monkeypatch.setattr(on_policy, "flow_run_id", lambda: flow_run)
        monkeypatch.setattr(on_policy, "wake_at", lambda question: woken.append(question.until))
        monkeypatch.setattr(on_policy, "wait", lambda folder, question: answer)
        monkeypatch.setattr(on_policy, "_report", lambda step: None)
        monkeypatch.setattr(on_policy.artifacts, "flush", lambda: None)
        monkeypatch.setattr(on_policy, "get_run_logger", logging.getLogger)
        name, _, hours = other.partition(" ")
        at = now() - timedelta(hours=float(hours or 0))
        state = State(type=StateType(name), timestamp=at)
        monkeypatch.setattr(gate, "state_of", lambda flow_run: state)
        return woken

    return be


def answered(run: RunConfig) -> bool:
    step = next(step for step in next_steps(run) if step.path == "round-1/gate")
    return on_policy._is_answered(step, run)


def round_of(run: RunConfig) -> Path:
    return run.folder / "round-1"


def test_an_answer_that_was_given_in_time_counts_when_its_flow_run_comes_back_late(
    asking: RunConfig, here: Callable[[str, str], list[str]]
) -> None:
    write_question(round_of(asking), hours=-1, then="stop", flow_run="suspended")
    here("another", "RUNNING")
    on_policy._take_answer(asking)
    assert read_answer(round_of(asking)) is None
    here("suspended", "RUNNING")
    on_policy._take_answer(asking)
    answer = read_answer(round_of(asking))
    assert answer and (answer.action, answer.by) == ("promote", "ada")


@pytest.mark.parametrize(("state", "by"), [
    ("SCHEDULED 9", None), ("PENDING", None), ("RUNNING", None), ("RUNNING 9", "time limit"),
    ("PAUSED", "time limit"), ("CANCELLED", "time limit"), ("CRASHED", "time limit"),
])  # fmt: skip
def test_the_time_limit_does_not_overtake_an_answer_that_is_on_its_way(
    asking: RunConfig, here: Callable[[str, str], list[str]], state: str, by: str | None
) -> None:
    write_question(round_of(asking), hours=-1, then="stop", flow_run="suspended")
    here("woken at the time limit", state)
    assert answered(asking) is (by is not None)
    answer = read_answer(round_of(asking))
    assert (answer.by if answer else None) == by


def test_a_flow_run_that_takes_a_question_over_is_woken_at_its_time_too(
    asking: RunConfig, here: Callable[[str, str], list[str]]
) -> None:
    question = write_question(round_of(asking), hours=1, then="stop", flow_run=None)
    assert here("scheduled", "RUNNING") == []
    woken = here("scheduled", "RUNNING")
    assert answered(asking) and woken == [question.until]


def test_the_flow_run_that_has_asked_is_known_by_its_question(asking: RunConfig) -> None:
    assert asked_by(asking, "suspended") is None and asked_by(asking, None) is None
    question = write_question(round_of(asking), hours=1, then="stop", flow_run="suspended")
    assert asked_by(asking, "suspended") == (round_of(asking), question)
    assert asked_by(asking, "another") is None
    decide(asking.folder, "1", "promote", "ada", "")
    assert asked_by(asking, "suspended") is None


def test_a_flow_run_that_comes_with_an_answer_waits_where_any_other_is_skipped(
    asking: RunConfig, here: Callable[[str, str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_question(round_of(asking), hours=1, then="stop", flow_run="suspended")
    tried: list[Path] = []

    @contextmanager
    def busy_at_first(folder: Path) -> Iterator[None]:
        tried.append(folder)
        if len(tried) < 3:
            raise FolderBusy("another process is writing here")
        yield

    monkeypatch.setattr(on_policy, "folder_lock", busy_at_first)
    here("another", "RUNNING")
    with ExitStack() as held, pytest.raises(FolderBusy):
        on_policy._lock(asking, held)
    here("suspended", "RUNNING")
    with ExitStack() as held:
        on_policy._lock(asking, held)
    assert tried == [asking.folder] * 3


def test_a_run_that_goes_on_posts_no_decision_a_second_time(
    settings: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = settings(rounds=2, evaluation=JUDGED, gate={})
    run.folder.mkdir(parents=True)
    run = claim_run(run)
    make_gated(run, {1: "better", 2: "better"})
    posted: list[str] = []
    monkeypatch.setattr(on_policy, "_run", lambda *step: None)  # every step is done
    monkeypatch.setattr(on_policy, "_report", lambda step: None)
    monkeypatch.setattr(on_policy, "_tell_short", lambda *run: None)
    monkeypatch.setattr(on_policy.webhook, "post", lambda *told: posted.append(told[0]))
    on_policy._make(run, next_round=False, redo=(), until=None)
    assert posted == []
