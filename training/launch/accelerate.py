"""Starting a training run's processes, and following what they say."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from runtime.child_process import Child, start_child
from runtime.fork_server.fitness import can_fork
from runtime.fork_server.running import ensure_server
from runtime.module_process import start_module
from training.config import TrainResources
from training.launch.environment import own_environment
from training.launch.output import pass_on

_STOP_SECONDS = 10.0
# Names a file through which the processes of one machine find each other.
STORE = "ONPOLICY_STORE"


def run_workers(resources: TrainResources, job: Path, module: str) -> None:
    """Run the job's workers to their end; their log and progress come out as they come in.

    Args:
        module: what each worker runs, with the job's path as its argument.

    Raises:
        UserError: a worker refused what it was given, with its own message.
        OnPolicyError: they failed; with their own message, or their last lines.
    """
    if resources.cluster:
        from training.launch.over_cluster import run_over

        run_over(resources.cluster, resources, job, module)
        return
    if resources.processes == 1 and "zero" not in resources.strategy:
        _follow(start_module(module, [str(job)], own_environment(resources)))
        return
    with _alone() as (folder, meeting):
        environment = {**own_environment(resources), **meeting}
        _follow(_start(resources, job, module, folder, environment))


def shared_imports(module: str) -> list[str]:
    """What processes that run `module` may have imported before they are forked."""
    # transformers and accelerate import DeepSpeed under every strategy: to look for its wrapper.
    return ["training.engines.preload", "contracts.models.preload", module]


def _follow(process: Child) -> None:
    """Pass on what the workers say until they end.

    Raises:
        UserError, OnPolicyError: as `run_workers`.
    """
    try:
        failure = pass_on(process.stdout or ())
        code = process.wait()
    finally:
        _stop(process)
    if code:
        raise failure


@contextmanager
def _alone() -> Iterator[tuple[str, dict[str, str]]]:
    """A folder, and the environment in which the processes of a single machine meet there, where
    nothing listens beyond loopback."""
    with tempfile.TemporaryDirectory(prefix="onpolicy-") as folder:
        environment = {
            # torch's TCPStore cannot be bound to one address: processes meet in a file instead.
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            "LOGLEVEL": "ERROR",  # torch warns that no address is used
            STORE: f"{folder}/store",
        }
        networks = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
        yield folder, environment | {name: os.environ.get(name, "lo") for name in networks}


def _start(
    resources: TrainResources, job: Path, module: str, folder: str, environment: Mapping[str, str]
) -> Child:
    """Start the processes of a single machine: forked where that is safe, else by accelerate."""
    if can_fork():
        ensure_server(shared_imports(module))
        arguments = [module, str(job), str(resources.processes)]
        return start_module("training.launch.world", arguments, environment)
    how = ["--multi_gpu"]
    if "zero" in resources.strategy:
        how = ["--use_deepspeed", "--zero_stage", resources.strategy[-1]]
    command = [
        sys.executable, "-m", "accelerate.commands.launch", *how,
        "--num_processes", str(resources.processes), "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "--log_dir", folder,
        "--main_process_port", "0", "--rdzv_backend", "c10d", "--rdzv_conf", "store_type=file",
        "-m", module, str(job),
    ]  # fmt: skip
    # Each worker is in a session of its own: all of them watch the pipe.
    return start_child(command, environment)


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
