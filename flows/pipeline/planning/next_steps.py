"""A run's steps one after another, as the gates' decisions make them."""

from collections.abc import Iterator

from evaluation import gate
from flows.pipeline.config import RunConfig
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.planning.until import steps_until


def next_steps(config: RunConfig, until: str | None = None) -> Iterator[PlannedStep]:
    """Every step of the run in order, planned anew once a gate has decided what follows it.

    Args:
        until: the last one that is given (flows.pipeline.planning.until).

    Raises:
        UserError: no step has that name.
    """
    last = steps_until(config, until)[-1].path
    given: set[str] = set()
    is_over = False
    while not is_over:
        is_over = True
        for step in [step for step in plan(config) if step.path not in given]:
            given.add(step.path)
            yield step
            if until and step.path == last:
                return
            if step.stage is gate.STAGE:
                is_over = False
                break


def with_next(
    steps: Iterator[PlannedStep],
) -> Iterator[tuple[PlannedStep, PlannedStep | None]]:
    """Each step with the one after it; None after the last, and after a gate, which decides it."""
    step = next(steps, None)
    while step:
        following = None if step.stage is gate.STAGE else next(steps, None)
        yield step, following
        step = following or next(steps, None)


def planned_anew(step: PlannedStep, config: RunConfig) -> PlannedStep:
    """The step with what it reads now, e.g. an answer that has come."""
    return next(planned for planned in plan(config) if planned.path == step.path)
