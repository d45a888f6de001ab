"""When a machine that joins another's trainings is done: once that one starts none any more."""

from collections.abc import Callable
from pathlib import Path

import pytest
from gated_run import JUDGED, make_gated

from evaluation.gates.answers import write_question
from flows.cli.run import _finished
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import claim_run, made_anew
from flows.pipeline.planning.gates import decide


@pytest.fixture
def run(settings: Callable[..., RunConfig]) -> RunConfig:
    """A claimed run of two rounds whose gates ask."""
    config = settings(rounds=2, evaluation=JUDGED, gate={"worse": "ask"})
    config.folder.mkdir(parents=True)
    return claim_run(config)


def asked(run: RunConfig, flow_run: str | None = None) -> Path:
    make_gated(run, {1: "worse", 2: "better"})
    write_question(run.folder / "round-1", hours=1, then="stop", flow_run=flow_run)
    return run.folder


def test_it_ends_where_a_gate_asks_and_the_first_machine_has_ended(run: RunConfig) -> None:
    finished = _finished(run, [], None)
    assert not finished()
    folder = asked(run)
    assert finished()
    decide(folder, "round-1", "promote", "ada", "")
    assert not finished()


def test_it_ends_after_the_stage_that_the_run_is_to_end_after(run: RunConfig) -> None:
    finished = _finished(run, [], "round-1/policy")
    make_gated(run, {}, "round-1/pairs")
    assert not finished()
    make_gated(run, {}, "round-1/policy")
    assert finished() and not _finished(run, [], None)()


def test_it_waits_where_a_schedule_goes_on_once_the_gate_is_answered(run: RunConfig) -> None:
    asked(run, flow_run="suspended")
    assert not _finished(run, [], None)()


def test_it_waits_for_what_is_to_be_made_anew_before_it_looks_at_the_gate(run: RunConfig) -> None:
    asked(run)
    finished = _finished(run, made_anew(run, ["round-1/policy"]), None)
    assert not finished()
    claim_run(run, again=["round-1/policy"])
    assert not finished()
    asked(run)
    assert finished()
