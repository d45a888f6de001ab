"""How far a run goes where `--until` names a stage."""

from contracts.errors import UserError
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.redo import up_to
from flows.pipeline.planning.lineage import promoted, stopped_after
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.planned_step import PlannedStep


def steps_until(config: RunConfig, until: str | None) -> list[PlannedStep]:
    """The run's steps up to the one that `until` names; all that there are, where a gate has
    stopped the run before it.

    Raises:
        UserError: no step of the run has such a name, whatever its gates decide.
    """
    steps = plan(config)
    try:
        return up_to(steps, until)
    except UserError:
        if stopped_after(config) is None:
            raise
        up_to(plan(config, promoted(config)), until)
        return steps
