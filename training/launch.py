"""Starting a training run's processes through accelerate, and following what they say."""

import subprocess
import sys
from collections import deque
from pathlib import Path

from contracts.children import Child, start_child
from contracts.errors import OnPolicyError, UserError
from contracts.process import parse_error
from training.config import TrainResources, threads

_STOP_SECONDS = 10.0
# A worker whose error is the user's mistake says so: its exit code ends at the launcher.
MISTAKE_MARK = "::mistake"
_KEPT_LINES = 12


def command(resources: TrainResources, job: Path, module: str) -> list[str]:
    """The command line that runs the job's workers."""
    worker = ["-m", module, str(job)]
    if resources.strategy == "none" and resources.processes == 1:
        return [sys.executable, *worker]
    how = (
        ["--multi_gpu"]
        if resources.strategy == "none"
        else ["--use_deepspeed", "--zero_stage", resources.strategy[-1]]
    )
    return [
        sys.executable, "-m", "accelerate.commands.launch", *how,
        "--num_processes", str(resources.processes), "--num_machines", "1",
        "--main_process_port", "0",  # any free one
        "--mixed_precision", "no", "--dynamo_backend", "no",
        *worker,
    ]  # fmt: skip


def run_workers(resources: TrainResources, job: Path, module: str) -> None:
    """Run the job's workers to their end; their log and progress come out as they come in.

    Args:
        module: what each worker runs, with the job's path as its argument.

    Raises:
        UserError: a worker refused what it was given, with its own message.
        OnPolicyError: they failed; with their own message, or their last lines.
    """
    # Under accelerate each worker is in a session of its own: all of them watch the pipe.
    environment = {
        "OMP_NUM_THREADS": str(threads(resources)),
        "TOKENIZERS_PARALLELISM": "false",
    }
    process = start_child(command(resources, job, module), environment)
    try:
        failure = _follow(process)
        code = process.wait()
    finally:
        _stop(process)
    if code:
        raise failure


def _follow(process: Child) -> OnPolicyError:
    """Pass the output on; what to raise if the workers failed."""
    error, kind = "", OnPolicyError
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    for line in process.stdout or ():
        line = line.rstrip()
        if message := parse_error(line):
            error = error or message
        elif line == MISTAKE_MARK:
            kind = UserError
        elif line and not error:
            # After a worker's own message comes only the launcher's account of its end.
            last.append(line)
            print(line, flush=True)
    return kind(error or "training ended early; its last lines:\n" + "\n".join(last))


def _stop(process: Child) -> None:
    """End the launcher if it runs; closing the pipe ends the workers."""
    if process.stdin:
        process.stdin.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
