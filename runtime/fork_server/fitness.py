"""Who may be forked: a process for which the server's imports are what its own would be."""

import os
import sys
from collections.abc import Mapping

from runtime import device
from runtime.fork_server.request import Request

# What Python and libraries read as they are imported, by the beginnings of the names.
_READ_AT_IMPORT = (
    "ACCELERATE_", "ARROW_", "CUDA_", "DS_", "GOMP_", "HF_", "HOME", "HUGGINGFACE_", "KMP_", "LANG",
    "LC_", "LD_", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON", "TORCH", "TQDM_",
    "TRANSFORMERS_", "TRITON_", "USE_", "XDG_",
)  # fmt: skip
# `runtime.torch_settings` sets the first two anew; of the others the last is read when a process
# group is made, and those before it are set by our own stages' libraries.
_READ_LATER = frozenset({
    "OMP_NUM_THREADS", "TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE", "DS_ACCELERATOR",
    "ACCELERATE_TORCH_DEVICE", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE",
})  # fmt: skip


def can_fork() -> bool:
    """Whether processes are forked here at all.

    Not where GPUs may be used: what a fork does to a driver is not left to chance, and imports
    are nothing beside the hours of a run there. Not under a debugger, nor where the user says no.
    """
    return (
        sys.platform == "linux"
        and hasattr(os, "pidfd_open")
        and os.environ.get("ONPOLICY_FORK") != "0"
        and sys.gettrace() is None
        and not device.torch_build()
    )


def unfit(request: Request, at_first: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Why a server cannot fork what is asked for; empty if it can.

    Args:
        at_first: the server's environment as it began.
        now: with what its imports have put there, which forks have, and hand on to theirs.
    """
    if request.executable != sys.executable:
        return f"it is another Python: {request.executable}"
    if "OMP_NUM_THREADS" in at_first and "OMP_NUM_THREADS" not in request.environment:
        return "OMP_NUM_THREADS is set here and not there"
    names = sorted(request.environment.keys() | at_first.keys())
    other = [
        name for name in names
        if name.startswith(_READ_AT_IMPORT) and name not in _READ_LATER
        and request.environment.get(name) not in (at_first.get(name), now.get(name))
    ]  # fmt: skip
    return f"its environment is another: {', '.join(other)}" if other else ""
