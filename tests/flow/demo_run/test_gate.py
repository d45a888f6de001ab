"""A gate that asks under a schedule: suspended in Prefect, answered there, gone on."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from checkout import CHECKOUT
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound

from contracts.tables.parts import read_table

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

SECONDS = 150
ASKS = "gate={better: ask, same: ask, worse: ask}"


def until(is_so: Callable[[], Any], serving: subprocess.Popen) -> Any:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and serving.poll() is None:
        if found := is_so():
            return found
        time.sleep(0.5)
    pytest.fail(f"not so after {SECONDS} s, or the schedule has ended: {serving.poll()}")


def asked(api: str, work: Callable[[PrefectClient], Any]) -> Any:
    async def ask() -> Any:
        async with PrefectClient(api) as client:
            return await work(client)

    return asyncio.run(ask())


def start(api: str, name: str) -> UUID | None:
    """A run of the deployment, as its schedule would start it; None before it is served."""

    async def work(client: PrefectClient) -> UUID | None:
        try:
            deployment = await client.read_deployment_by_name(f"on-policy/{name}")
        except ObjectNotFound:
            return None
        return (await client.create_flow_run_from_deployment(deployment.id)).id

    return asked(api, work)


def state_of(api: str, run: UUID) -> str:
    return asked(api, lambda client: client.read_flow_run(run)).state.name


def test_a_suspended_run_is_answered_in_prefect_and_goes_on_from_there(
    workplace: Path, demo_run: Path, prefect_server: dict[str, str], tmp_path: Path
) -> None:
    """A finished run gets a gate, which asks; the answer starts its second round."""
    api, run = prefect_server["PREFECT_API_URL"], tmp_path / "gated"
    shutil.copytree(demo_run, run)
    quick = {"PREFECT_RUNNER_POLL_FREQUENCY": "1", "PYTHONPATH": str(CHECKOUT)}
    serving = subprocess.Popen(
        [sys.executable, "-m", "flows.cli.app", "schedule", str(run / "config.yaml"), "name=gated",
         f"runs_dir={tmp_path}", "rounds=2", ASKS, "--cron", "0 2 * * *"],
        cwd=workplace, env={**os.environ, **prefect_server, **quick},
    )  # fmt: skip
    try:
        flow_run = until(lambda: start(api, "gated"), serving)
        until(lambda: state_of(api, flow_run) == "Suspended", serving)
        assert not (run / "round-2").exists()
        given = {"decision": "promote", "why": "it reads well", "who": "ada"}
        answered = asked(api, lambda client: client.resume_flow_run(flow_run, run_input=given))
        assert answered.status.name == "ACCEPT", answered
        until((run / "round-2" / "prompts" / "_manifest.json").exists, serving)
    finally:
        serving.terminate()
        serving.wait(60)
    (decision,) = read_table(run / "round-1" / "gate").to_pylist()
    assert (decision["action"], decision["by"], decision["why"]) == (
        "promote", "ada", "it reads well",
    )  # fmt: skip
    assert "promote, by ada (it reads well)" in (run / "report.html").read_text()
