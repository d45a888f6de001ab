"""Training runs in processes forked from one that has imported everything, one run after another:
`python engine_steps.py RUNS.json`. A world of two processes starts in a second instead of twenty.

RUNS.json: a list of {"job": path of a job.json, "processes": how many, "killed_after": steps or
null, "after": folder of the run that it goes on from, or null}.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from checkout import CHECKOUT

from training.config import TrainConfig

IMPORTED = ("deepspeed", "peft", "bitsandbytes", "training.engines.fsdp", "training.loop.worker",
            "transformers.models.gemma2.modeling_gemma2")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A training into the folder `name`, where an earlier one may have left checkpoints."""

    name: str
    config: TrainConfig
    killed_after: int | None = None
    """kill -9 of all its processes once this many steps are logged."""
    after: str | None = None
    """The run whose policy and optimizer's state it goes on from."""


def run_forked(runs: Sequence[Run], inputs: Mapping[str, str], folder: Path) -> str:
    """Train each of `runs` into `folder / name`, where its checkpoints stay; what they printed."""
    described = []
    for number, run in enumerate(runs):
        checkpoints = folder / run.name / ".checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        job = {"config": run.config.model_dump(mode="json"), "reference": None, **inputs}
        path = checkpoints / f"job-{number}.json"
        path.write_text(json.dumps({**job, "out": str(folder / run.name)}))
        after = str(folder / run.after) if run.after else None
        described.append({
            "job": str(path), "processes": run.config.resources.processes,
            "killed_after": run.killed_after, "after": after,
        })  # fmt: skip
    (folder / "runs.json").write_text(json.dumps(described))
    command = [sys.executable, __file__, str(folder / "runs.json")]
    path = os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "tests" / "support")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-8000:]
    return done.stdout


def _main(runs: Path) -> None:
    from training.engines.zero import cpu_only

    cpu_only()
    for module in IMPORTED:
        import_module(module)
    for run in json.loads(runs.read_text()):
        if run["after"]:
            _go_on_from(Path(run["after"]), Path(run["job"]))
        world = [(rank, run["processes"]) for rank in range(run["processes"])]
        started = [_fork(Path(run["job"]), *place) for place in world]
        if run["killed_after"]:
            _kill(started, Path(run["job"]).with_name("metrics.jsonl"), run["killed_after"])
        codes = [os.waitpid(process, 0)[1] for process in started]
        expected = signal.SIGKILL if run["killed_after"] else 0
        if any(code != expected for code in codes):
            sys.exit(f"{run['job']}: ended with {codes}")


def _go_on_from(before: Path, path: Path) -> None:
    """Let a job take another's policy and state over, as the stage does."""
    from training import carried

    job = json.loads(path.read_text())
    steps = json.loads((before / carried.INDEX).read_text())["steps"]
    policy = job["policy"] if job["config"]["lora"] else str(before)
    handed = carried.Carried(folder=before / carried.FOLDER, steps=steps)
    path.write_text(json.dumps({**job, "policy": policy, **handed.as_job}))


def _kill(processes: Sequence[int], log: Path, steps: int) -> None:
    deadline = time.monotonic() + 120
    while not log.exists() or len(log.read_text().splitlines()) < steps:
        if time.monotonic() > deadline:
            sys.exit(f"{log}: training did not come to step {steps} in time")
        time.sleep(0.005)
    for process in processes:
        os.kill(process, signal.SIGKILL)


def _fork(job: Path, rank: int, processes: int) -> int:
    if process := os.fork():
        return process
    code = 1
    try:
        _work(job, rank, processes)
        code = 0
    finally:
        # A fork never goes on with its parent's work.
        if code:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)


def _work(job: Path, rank: int, processes: int) -> None:
    from training.loop.worker import Job, train

    if processes > 1:
        os.environ.update({
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes), "ONPOLICY_STORE": str(job.with_suffix(".store")),
            "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1",
        })  # fmt: skip
    train(Job.read(job))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
