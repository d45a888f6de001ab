"""`--until`: a run ends in order after a stage, and goes on another day."""

from collections.abc import Callable

import pytest
from gated_run import make_gated
from made_run import made
from minimal_run import config

from contracts.errors import UserError
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
