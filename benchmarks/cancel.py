"""A run is cancelled through Prefect's API in mid-sampling and in mid-training, again and again.

`python -m benchmarks.cancel [--passes 10]`: the demo with more samples and epochs, under `onpolicy
run` and `onpolicy schedule` by turns, each pass going on where the last was cancelled. Seconds are
those from the request until no process of it is left. At the end the run is finished, and its
tables compared with those of one that nobody cancelled.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.support.outcome import report_at_most

REACH = 10.0
STAGES = ("responses", "policy")
TABLES = ("prompts", "responses", "scores", "pairs", "tokens")
OPTIONS = [
    "rounds=1", "prompts.limit=192", "prompts.test_size=16", "sampling.n=16",
    "evaluation.sampling.engine.kind=transformers", "evaluation.benchmarks=[]",
    "training.epochs=24", "training.resources.strategy=none", "training.resources.processes=1",
    "training.resources.checkpoint_every=20",
]  # fmt: skip
ONPOLICY = [sys.executable, "-m", "flows.cli.main"]
PATIENCE = 300.0
MARK = "ONPOLICY_CANCEL_BENCHMARK"


class Api:
    """Prefect's, as its UI asks it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, what: str, **content: Any) -> Any:
        """The answer to a request."""
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/{what}", json.dumps(content).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return json.load(answer)

    def running(self) -> str | None:
        """The flow run that goes on."""
        which = {"state": {"type": {"any_": ["RUNNING"]}}}
        found = self.post("flow_runs/filter", flow_runs=which)
        return found[0]["id"] if found else None

    def cancel(self, flow_run: str) -> None:
        """What the UI's button does."""
        self.post(f"flow_runs/{flow_run}/set_state", state={"type": "CANCELLING"})

    def state(self, flow_run: str) -> str:
        """The name of its state."""
        found = self.post("flow_runs/filter", flow_runs={"id": {"any_": [flow_run]}})
        return str(found[0]["state"]["name"])


@contextmanager
def server(home: Path) -> Iterator[dict[str, str]]:
    """`onpolicy server`; the environment that makes a run use it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    process = subprocess.Popen(
        [*ONPOLICY, "server", "--port", str(port)],
        env={**os.environ, **environment}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: is_answering(f"{environment['PREFECT_API_URL']}/health"))
        yield environment
    finally:
        process.terminate()
        process.wait()


def is_answering(url: str) -> bool:
    """Whether a server is up."""
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
        return bool(answer.status == 200)
    return False


def wait_for(is_so: Callable[[], Any]) -> Any:
    """What it says once that is true.

    Raises:
        TimeoutError: it is not, after five minutes.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if answer := is_so():
            return answer
        time.sleep(0.1)
    raise TimeoutError


def is_in_the_middle(run: Path, stage: str, done: int) -> bool:
    """Whether it has made more than `done` units of a stage, and is still at it."""
    with suppress(OSError, ValueError):
        said = json.loads((run / ".progress.json").read_text())
        reading = said["reading"]
        return said["path"] == f"round-1/{stage}" and reading and reading["done"] > done
    return False


def done_of(run: Path) -> int:
    """Units that the stage begun last has made."""
    return int(json.loads((run / ".progress.json").read_text())["reading"]["done"])


def marked(mark: str) -> set[int]:
    """Numbers of the processes that were started by one with this mark in its environment; Python
    keeps a tracker of its semaphores beside each that has any, and it ends with that one."""
    found = set()
    for folder in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended, or is no process
            is_ours = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes()
            if is_ours and b"resource_tracker" not in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    return found


def cancel_once(
    runs: Path, environment: dict[str, str], is_scheduled: bool, stage: str, done: int
) -> tuple[float, str, int]:
    """Start the run, cancel it in mid-stage; seconds until all is gone, its state, units made."""
    api, mark = Api(environment["PREFECT_API_URL"]), uuid4().hex
    started = {**os.environ, **environment, MARK: mark}
    verb, more = ("schedule", ["--cron", "0 0 1 1 *"]) if is_scheduled else ("run", [])
    log = (runs / "log.txt").open("a")
    process = subprocess.Popen(
        [*ONPOLICY, verb, "configs/demo.yaml", *OPTIONS, "name=run", f"runs_dir={runs}", *more],
        env=started, stdout=log, stderr=log,
    )  # fmt: skip
    if is_scheduled:
        start_deployment(api)
    wait_for(lambda: is_in_the_middle(runs / "run", stage, done) or process.poll() is not None)
    if not (flow_run := api.running()):
        raise RuntimeError((runs / "log.txt").read_text())
    began = time.perf_counter()
    api.cancel(flow_run)
    keeps = {process.pid} if is_scheduled else set[int]()
    wait_for(lambda: marked(mark) <= keeps)
    seconds = time.perf_counter() - began
    wait_for(lambda: api.state(flow_run) != "Cancelling")
    process.terminate()
    process.wait()
    return seconds, api.state(flow_run), done_of(runs / "run")


def start_deployment(api: Api) -> None:
    """Start a run of the deployment, once it is served."""

    def start() -> Any:
        found = api.post("deployments/filter", deployments={"name": {"any_": ["run"]}})
        if not found or found[0]["status"] != "READY":
            return None
        return api.post(
            f"deployments/{found[0]['id']}/create_flow_run", state={"type": "SCHEDULED"}
        )

    wait_for(start)


def tables_of(run: Path) -> dict[str, str]:
    """Fingerprint of each table."""
    manifests = {name: run / "round-1" / name / "_manifest.json" for name in TABLES}
    return {name: json.loads(path.read_text())["fingerprint"] for name, path in manifests.items()}


def finish(runs: Path, environment: dict[str, str]) -> dict[str, str]:
    """Let a run go to its end; its tables."""
    command = [*ONPOLICY, "run", "configs/demo.yaml", *OPTIONS, "name=run", f"runs_dir={runs}"]
    subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
    return tables_of(runs / "run")


def main() -> None:
    """Cancel, finish, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=10)
    passes = parser.parse_args().passes
    seconds, states = [], []
    with tempfile.TemporaryDirectory() as name, server(Path(name) / "prefect") as environment:
        runs, whole = Path(name) / "cancelled", Path(name) / "whole"
        runs.mkdir()
        half, done = (passes + 1) // 2, 0
        for number in range(passes):
            stage = STAGES[number >= half]
            done = 0 if number == half else done
            took, state, done = cancel_once(runs, environment, bool(number % 2), stage, done)
            seconds.append(took)
            states.append(state)
            print(f"{stage}, {'schedule' if number % 2 else 'run'}: {took:.1f} s, {state}, "
                  f"{done} done", file=sys.stderr)  # fmt: skip
        alike = finish(runs, environment) == finish(whole, environment)
    report_at_most(
        "cancel", max(seconds), REACH, "seconds until no process is left, the longest",
        passes=passes, within=sum(took <= REACH for took in seconds), states=sorted({*states}),
        same_tables=alike, seconds=[round(took, 1) for took in seconds], load=os.getloadavg()[0],
    )  # fmt: skip


if __name__ == "__main__":
    main()
