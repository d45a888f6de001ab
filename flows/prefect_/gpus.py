"""A run waits for the GPUs of its machine while another has them, and Prefect's UI says so."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from prefect import State
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Running

from flows.pipeline.config import RunConfig
from flows.pipeline.console import print_warning
from runtime.gpu_busy import gpus_in_sight
from runtime.gpu_lock import hold_gpus


@contextmanager
def gpus_held(config: RunConfig) -> Iterator[None]:
    """Hold every GPU in sight; on a CPU there is none, and a cluster counts its own."""
    gpus = [] if config.resources.cluster else gpus_in_sight()
    waited = list[str]()

    def wait(busy: str) -> None:
        waited.append(busy)
        print_warning(f"{config.name} waits: {busy}")
        _show(Running(name="WaitingForGPUs", message=busy))

    with hold_gpus(gpus, str(config.folder), wait):
        if waited:
            _show(Running())
        yield


def _show(state: State[None]) -> None:
    """No outage of Prefect's holds up a run. Never by force, which takes back a Cancelling that has
    come meanwhile; without it Prefect 3.9.1 refuses that, and takes Running for Running."""
    if flow_run.id:
        with suppress(Exception), get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(flow_run.id), state)
