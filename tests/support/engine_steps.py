"""Training runs in processes forked from one that has imported everything, one run after another:
`python engine_steps.py RUNS.json`. A world of two processes starts in a second instead of twenty.

RUNS.json: a list of {"job": path of a job.json, "processes": how many}.
"""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from checkout import CHECKOUT

from training.config import TrainConfig

IMPORTED = ("deepspeed", "peft", "bitsandbytes", "training.engines.fsdp", "training.loop.worker",
            "transformers.models.gemma2.modeling_gemma2")  # fmt: skip


def run_forked(jobs: Mapping[str, TrainConfig], inputs: Mapping[str, str], folder: Path) -> None:
    """Train each of `jobs` into `folder / name`; its checkpoints stay."""
    runs = []
    for name, config in jobs.items():
        path = folder / name / ".checkpoints" / "job.json"
        path.parent.mkdir(parents=True)
        job = {"config": config.model_dump(mode="json"), "reference": None, **inputs}
        path.write_text(json.dumps({**job, "out": str(folder / name)}))
        runs.append({"job": str(path), "processes": config.resources.processes})
    (folder / "runs.json").write_text(json.dumps(runs))
    command = [sys.executable, __file__, str(folder / "runs.json")]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-8000:]


def _main(runs: Path) -> None:
    from training.engines.zero import _cpu_only

    _cpu_only()
    for module in IMPORTED:
        import_module(module)
    for run in json.loads(runs.read_text()):
        world = [(rank, run["processes"]) for rank in range(run["processes"])]
        started = [_fork(Path(run["job"]), *place) for place in world]
        codes = [os.waitpid(process, 0)[1] for process in started]
        if any(codes):
            sys.exit(f"{run['job']}: ended with {codes}")


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
            "LOCAL_WORLD_SIZE": str(processes), "ONPOLICY_STORE": str(job.with_name("store")),
            "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1",
        })  # fmt: skip
    train(Job.read(job))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
