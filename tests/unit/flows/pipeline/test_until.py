"""`--until`: a run ends in order after a stage, and goes on another day."""

from collections.abc import Callable
from pathlib import Path

import pytest
from gated_run import JUDGED, make_gated
from made_run import made
from minimal_run import config
from typer.testing import CliRunner, Result

from contracts.config.yaml import dump_yaml
from contracts.errors import UserError
from flows.cli.app import app
from flows.cli.run import _is_over
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.redo import up_to
from flows.pipeline.folder.run_folder import claim_run, steps_left
from flows.pipeline.planning.next_steps import next_steps
from flows.pipeline.planning.plan import plan


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("pairs", "round-1/pairs"),
        ("round-2/pairs", "round-2/pairs"),
        ("round-1", "round-1/evaluation/verdict"),
        ("evaluation", "round-0/evaluation/scores"),
        (None, "round-2/evaluation/verdict"),
    ],
)
def test_a_run_ends_after_the_stage_that_is_named(until: str | None, last: str) -> None:
    assert up_to(plan(config()), until)[-1].path == last
    assert [step.path for step in next_steps(config(), until)][-1] == last


def test_a_stage_that_is_not_there_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(UserError, match=r"--until pears: no stage of this run; did you mean pairs"):
        up_to(plan(config()), "pears")


def test_a_run_is_asked_for_no_more_than_the_stages_that_it_is_to_make(
    settings: Callable[..., RunConfig],
) -> None:
    left = [step.path for step in steps_left(settings(), until="pairs")]
    assert left[-1] == "round-1/pairs" and "round-1/policy" not in left
    run = made(settings())
    assert steps_left(run, until="pairs") == []
    assert [step.path for step in steps_left(run, ["round-1/scores"], until="pairs")] == [
        "round-1/scores",
        "round-1/pairs",
    ]


def test_what_was_ended_goes_on_and_makes_nothing_twice(
    settings: Callable[..., RunConfig],
) -> None:
    run = settings()
    run.folder.mkdir(parents=True)
    run = claim_run(run)
    first = make_gated(run, {1: "better", 2: "better"}, until="round-1")
    rest = make_gated(run, {1: "better", 2: "better"})
    assert first[-1] == "round-1/evaluation/verdict" and rest[0] == "round-2/prompts"
    assert sorted([*first, *rest]) == sorted(step.path for step in plan(run))


def tried(run: RunConfig, *options: str) -> Result:
    """`onpolicy run --dry-run` with more options."""
    path = Path(run.runs_dir).parent / "run.yaml"
    path.write_text(dump_yaml(run.model_dump(mode="json")))
    return CliRunner().invoke(app, ["run", str(path), "--dry-run", *options])


def test_a_dry_run_says_what_would_be_made_anew_and_where_it_would_end(
    settings: Callable[..., RunConfig],
) -> None:
    run = made(settings(rounds=1))
    again = tried(run, "--redo", "tokens").stdout.splitlines()
    states = {line[9:46].strip(): line[:9].strip() for line in again if line[:2] == "  "}
    assert states["round 1: pair chosen and rejected"] == "done"
    assert states["round 1: format tokens"] == states["round 1: train policy"] == "anew"
    ended = tried(run, "--redo", "tokens", "--until", "pairs").stdout
    assert "pair chosen" in ended and "format tokens" not in ended
    assert all(step.done for step in plan(run))


@pytest.mark.parametrize("option", ["--redo", "--until"])
def test_a_dry_run_refuses_a_stage_that_is_not_there(
    settings: Callable[..., RunConfig], option: str
) -> None:
    told = tried(made(settings(rounds=1)), option, "pears")
    assert f"{option} pears: no stage of this run; did you mean pairs?" in str(told.exception)


def test_a_finished_run_refuses_to_end_after_a_stage_that_is_not_there(
    settings: Callable[..., RunConfig],
) -> None:
    with pytest.raises(UserError, match="--until pears: no stage of this run"):
        _is_over(made(settings(rounds=1)), until="pears")


def test_a_stage_of_a_round_that_a_gate_has_stopped_the_run_before_is_one_of_the_run(
    settings: Callable[..., RunConfig],
) -> None:
    run = settings(rounds=3, evaluation=JUDGED, gate={})
    run.folder.mkdir(parents=True)
    run = claim_run(run)
    assert make_gated(run, {1: "better", 2: "worse"}, "round-3/pairs")[-1] == "round-2/gate"
    assert steps_left(run, until="round-3/pairs") == []
    assert _is_over(run, "round-3/pairs")
    with pytest.raises(UserError, match="--until round-4/pairs: no stage of this run"):
        steps_left(run, until="round-4/pairs")
