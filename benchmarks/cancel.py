"""A run is cancelled through Prefect's API in mid-sampling and in mid-training, again and again.

`python -m benchmarks.cancel [--passes 10]`: the demo with more samples and epochs, under `onpolicy
run` and `onpolicy schedule` by turns, each pass going on where the last was cancelled. One under a
schedule is suspended and resumed first. Seconds are those from a request until no process of the
run is left. At the end the run is finished, and all files of its steps are compared with those of
one that nobody stopped.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from uuid import uuid4

from benchmarks.support.outcome import report_at_most
from benchmarks.support.prefect_api import ONPOLICY, Api, server, wait_for

REACH = 10.0
STAGES = ("responses", "policy")
STEPS = ("prompts", "responses", "scores", "pairs", "tokens", "policy")
OPTIONS = [
    "rounds=1", "prompts.limit=192", "prompts.test_size=16", "sampling.n=32",
    "evaluation.sampling.engine.kind=transformers", "evaluation.benchmarks=[]",
    "training.epochs=24", "training.resources.strategy=none", "training.resources.processes=1",
    "training.resources.checkpoint_every=20",
]  # fmt: skip
MARK = "ONPOLICY_CANCEL_BENCHMARK"


@dataclass
class Stops:
    """What was seen."""

    seconds: list[float] = field(default_factory=list)
    states: list[str] = field(default_factory=list)


@dataclass
class Pass:
    """A start of the run, until it is cancelled."""

    run: Path
    stage: str
    environment: dict[str, str]
    is_scheduled: bool
    mark: str = field(default_factory=lambda: uuid4().hex)

    def start(self, log: IO[str]) -> "subprocess.Popen[bytes]":
        """`onpolicy run` or `onpolicy schedule`, whose runner looks for runs every second."""
        verb, more = ("schedule", ["--cron", "0 0 1 1 *"]) if self.is_scheduled else ("run", [])
        quick = {"PREFECT_RUNNER_POLL_FREQUENCY": "1", MARK: self.mark}
        where = [f"name={self.run.name}", f"runs_dir={self.run.parent}"]
        return subprocess.Popen(
            [*ONPOLICY, verb, "configs/demo.yaml", *OPTIONS, *where, *more],
            env={**os.environ, **self.environment, **quick}, stdout=log, stderr=log,
        )  # fmt: skip

    def wait_until_in_the_middle(self, done: int, process: "subprocess.Popen[bytes]") -> None:
        """Wait until it has made more than `done` units of the stage, and is still at it."""
        wait_for(lambda: self._is_in_the_middle(done) or process.poll() is not None)

    def _is_in_the_middle(self, done: int) -> bool:
        with suppress(OSError, ValueError):
            said = json.loads((self.run / ".progress.json").read_text())
            reading = said["reading"]
            is_at_it = said["path"] == f"round-1/{self.stage}"
            return bool(is_at_it and reading and reading["done"] > done)
        return False

    @property
    def done(self) -> int:
        """Units that the stage begun last has made."""
        return int(json.loads((self.run / ".progress.json").read_text())["reading"]["done"])

    def gone_after(self, stop: Callable[[], None], keeps: set[int]) -> float:
        """Seconds from a request until no process of it is left beside those that it keeps."""
        began = time.perf_counter()
        stop()
        wait_for(lambda: marked(self.mark) <= keeps)
        return time.perf_counter() - began


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


def stop_in_the_middle(one: Pass, done: int) -> tuple[Stops, Stops]:
    """Start the run, suspend it in mid-stage and resume it where it is a deployment's, and cancel
    it; how it was cancelled, and suspended."""
    api, log = Api(one.environment["PREFECT_API_URL"]), (one.run.parent / "log.txt").open("a")
    cancelled, suspended = Stops(), Stops()
    process = one.start(log)
    keeps = {process.pid} if one.is_scheduled else set[int]()
    if one.is_scheduled:
        api.start_deployment(one.run.name)
    one.wait_until_in_the_middle(done, process)
    if not (flow_run := api.running()):
        raise RuntimeError((one.run.parent / "log.txt").read_text())
    if one.is_scheduled:
        suspended.seconds.append(one.gone_after(lambda: api.suspend(flow_run), keeps))
        suspended.states.append(api.state(flow_run))
        done = one.done
        api.resume(flow_run)
        one.wait_until_in_the_middle(done, process)
    cancelled.seconds.append(one.gone_after(lambda: api.cancel(flow_run), keeps))
    wait_for(lambda: api.state(flow_run) != "Cancelling")
    cancelled.states.append(api.state(flow_run))
    process.terminate()
    process.wait()
    return cancelled, suspended


def finished_files(run: Path, environment: dict[str, str]) -> dict[str, str]:
    """Let a run go to its end; the hash of each file that its steps made."""
    where = [f"name={run.name}", f"runs_dir={run.parent}"]
    command = [*ONPOLICY, "run", "configs/demo.yaml", *OPTIONS, *where]
    subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
    manifests = {step: run / "round-1" / step / "_manifest.json" for step in STEPS}
    return {
        f"{step}/{name}": digest
        for step, path in manifests.items()
        for name, digest in json.loads(path.read_text())["files"].items()
    }


def main() -> None:
    """Stop, finish, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=10)
    passes = parser.parse_args().passes
    cancels, suspends, done = Stops(), Stops(), 0
    with tempfile.TemporaryDirectory() as name, server(Path(name) / "prefect") as environment:
        stopped, whole = Path(name) / "stopped" / "run", Path(name) / "whole" / "run"
        stopped.parent.mkdir()
        for number in range(passes):
            is_second_half = number >= (passes + 1) // 2
            one = Pass(stopped, STAGES[is_second_half], environment, bool(number % 2))
            done = 0 if number == (passes + 1) // 2 else done
            for seen, new in zip((cancels, suspends), stop_in_the_middle(one, done), strict=True):
                seen.seconds += new.seconds
                seen.states += new.states
            done = one.done
            print(f"{one.stage}, {'schedule' if one.is_scheduled else 'run'}: "
                  f"{cancels.seconds[-1]:.1f} s, {cancels.states[-1]}, {done} done",
                  file=sys.stderr)  # fmt: skip
        ours, theirs = finished_files(stopped, environment), finished_files(whole, environment)
    every = [*cancels.seconds, *suspends.seconds]
    report_at_most(
        "cancel", max(every), REACH, "seconds until no process is left, the longest",
        passes=passes, within=sum(took <= REACH for took in cancels.seconds),
        states=sorted({*cancels.states}), seconds=[round(took, 1) for took in cancels.seconds],
        suspended=len(suspends.seconds), suspended_states=sorted({*suspends.states}),
        suspended_seconds=[round(took, 1) for took in suspends.seconds],
        same_files=ours == theirs, files=len(theirs), load=os.getloadavg()[0],
        other_files=sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name)),
    )  # fmt: skip


if __name__ == "__main__":
    main()
