"""Starting a training run's processes, and following what they say."""

import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from contracts.errors import OnPolicyError, UserError
from runtime.child_process import Child, start_child
from runtime.fork_server.fitness import can_fork
from runtime.fork_server.running import ensure_server
from runtime.module_process import start_module
from runtime.stage_process import parse_error
from training.config import TrainResources, threads
from training.launch.machines import Launch, announced

_STOP_SECONDS = 10.0
# A worker whose error is the user's mistake says so: its exit code ends at the launcher.
MISTAKE_MARK = "::mistake"
# Names a file through which the processes of one machine find each other.
STORE = "ONPOLICY_STORE"
# What torch 2.13 reads; an older name that is set goes before the newer one.
_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
_KEPT_LINES = 12


def run_workers(resources: TrainResources, job: Path, module: str) -> None:
    """Run the job's workers to their end; their log and progress come out as they come in.

    Args:
        module: what each worker runs, with the job's path as its argument.

    Raises:
        UserError: a worker refused what it was given, with its own message.
        OnPolicyError: they failed; with their own message, or their last lines.
    """
    if resources.machines > 1:
        with announced(resources, job, module) as launch:
            follow(start(together(launch, 0), resources, {}))
        return
    if resources.processes == 1 and "zero" not in resources.strategy:
        follow(start_module(module, [str(job)], _own(resources)))
        return
    with _alone() as (folder, meeting):
        follow(_start_alone(resources, job, module, folder, {**_own(resources), **meeting}))


def shared_imports(resources: TrainResources, module: str) -> list[str]:
    """What processes that run `module` may have imported before they are forked."""
    return [*(["training.engines.preload"] if "zero" in resources.strategy else []), module]


def together(launch: Launch, rank: int) -> list[str]:
    """The command line that runs one machine's share of the workers of several machines."""
    return _accelerate(
        launch.resources, ["-m", launch.module, launch.job],
        "--machine_rank", str(rank), "--deepspeed_multinode_launcher", "standard",
        "--main_process_ip", launch.address, "--main_process_port", str(launch.port),
        "--rdzv_backend", "static", "--same_network",
    )  # fmt: skip


def start(
    command: Sequence[str], resources: TrainResources, environment: Mapping[str, str]
) -> Child:
    """Start the launcher that starts the workers."""
    # Under accelerate each worker is in a session of its own: all of them watch the pipe.
    return start_child(command, {**_own(resources), **environment})


def _own(resources: TrainResources) -> dict[str, str]:
    threads_each = {"OMP_NUM_THREADS": str(threads(resources))}
    return {**threads_each, "TOKENIZERS_PARALLELISM": "false", **allocator_settings()}


def allocator_settings() -> dict[str, str]:
    """How torch's CUDA allocator is to grow, unless the user says: rows of ever new lengths
    leave gaps that fixed segments cannot join, and memory that is free is not to be had."""
    said = any(os.environ.get(name) for name in _ALLOCATOR)
    return {} if said else {_ALLOCATOR[0]: "expandable_segments:True"}


def follow(process: Child) -> None:
    """Pass on what the workers say until they end.

    Raises:
        UserError, OnPolicyError: as `run_workers`.
    """
    try:
        failure = _read(process)
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


def _start_alone(
    resources: TrainResources, job: Path, module: str, folder: str, environment: Mapping[str, str]
) -> Child:
    """Start the processes of a single machine: forked where that is safe, else by accelerate."""
    if can_fork():
        ensure_server(shared_imports(resources, module))
        arguments = [module, str(job), str(resources.processes)]
        return start_module("training.launch.world", arguments, environment)
    command = _accelerate(
        resources, ["-m", module, str(job)], "--log_dir", folder,
        "--main_process_port", "0", "--rdzv_backend", "c10d", "--rdzv_conf", "store_type=file",
    )  # fmt: skip
    return start_child(command, environment)


def _accelerate(resources: TrainResources, worker: list[str], *more: str) -> list[str]:
    how = ["--multi_gpu"]
    if "zero" in resources.strategy:
        how = ["--use_deepspeed", "--zero_stage", resources.strategy[-1]]
    return [
        sys.executable, "-m", "accelerate.commands.launch", *how,
        "--num_processes", str(resources.processes * resources.machines),
        "--num_machines", str(resources.machines),
        "--mixed_precision", "no", "--dynamo_backend", "no", *more, *worker,
    ]  # fmt: skip


def _read(process: Child) -> OnPolicyError:
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
