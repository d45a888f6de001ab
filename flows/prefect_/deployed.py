"""Whether a deployment has started this flow run."""

from prefect.context import FlowRunContext


def deployment_id() -> str | None:
    """The deployment's id; none where the flow was called.

    Prefect's own `runtime.deployment.id` asks the server (3.9 looks for it beside the flow run, not
    in it), which may be gone in the middle of a sweep.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return str(run.deployment_id) if run and run.deployment_id else None
