"""Whether what finished rounds made is still there for a round that is made anew."""

from collections.abc import Sequence

from contracts.errors import UserError
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import settled
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.planned_step import PlannedStep
from training import carried


def refuse_freed(config: RunConfig, left: Sequence[PlannedStep]) -> None:
    """Refuse to make anew what reads a policy without its weights, or without the optimizer's state
    that it goes on with.

    Args:
        left: the steps that are to be made.

    Raises:
        UserError: names the policy, and the first from which all that are gone can be made.
    """
    steps = plan(settled(config))
    made = {str(step.out): step for step in steps if step.done}
    needed = {step.path for step in left}
    lost: list[tuple[str, str]] = []
    for step in reversed(steps):  # each comes after those that it reads from
        for name, value in step.reads.items() if step.path in needed else ():
            read = made.get(value)
            if read and read.path not in needed and (gone := _gone(read, name)):
                needed.add(read.path)
                lost.append((f"{step.path} is to be made from {read.path}, {gone}", read.path))
    if lost:
        raise UserError(
            f"{lost[0][0]}; nothing was removed. `--redo {lost[-1][1]}` makes it anew, and all "
            "that lies between"
        )


def _gone(read: PlannedStep, name: str) -> str:
    """What of a finished step its reader would miss; empty if nothing."""
    if read.done and read.done.freed:
        return "whose weights were freed by `onpolicy prune`"
    if name == "optimizer" and (file := carried.missing(read.out)):
        return f"whose optimizer's state was removed ({file}; training.resources.states_kept)"
    return ""
