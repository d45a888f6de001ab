"""What this machine computes on, and what `dtype: auto` means here."""

import ctypes
import importlib.util
import os
import re
import sys
from functools import cache
from pathlib import Path

# CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
_CAPABILITY = (75, 76)


def has_cuda() -> bool:
    """Whether torch finds a CUDA device. If torch is not imported yet, the driver is asked the
    way torch would ask it, because the import takes seconds."""
    if torch := sys.modules.get("torch"):
        return bool(torch.cuda.is_available())
    return driver_has_device()


def driver_has_device() -> bool:
    """Whether this is a torch for CUDA, and the driver shows a device to this process."""
    return bool(_driver_capabilities())


def capability() -> tuple[int, int] | None:
    """The least compute capability of the GPUs in sight, so that one dtype is for all of them;
    None if torch finds no CUDA device. It asks the way `has_cuda` does."""
    if not has_cuda():
        return None
    if torch := sys.modules.get("torch"):
        count = torch.cuda.device_count()
        return min(torch.cuda.get_device_capability(number) for number in range(count))
    return min(_driver_capabilities())


def supported_dtypes(capability: tuple[int, int] | None) -> tuple[str, ...]:
    """What a device of a compute capability samples in, the preferred one first, as vLLM has it;
    on a CPU (None) float32 alone."""
    if capability and capability >= (8, 0):
        return "bfloat16", "float16", "float32"
    if capability and capability >= (6, 0):
        return "float16", "float32"
    return ("float32",)


@cache
def _driver_capabilities() -> tuple[tuple[int, int], ...]:
    """Of each device that the driver shows to this process; none without a torch for CUDA."""
    if (build := torch_build()) != "cuda":
        return _ask_torch() if build == "hip" else ()
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    return tuple(_capability_of(driver, number) for number in range(count.value))


def _capability_of(driver: ctypes.CDLL, number: int) -> tuple[int, int]:
    device, value, major_minor = ctypes.c_int(0), ctypes.c_int(0), []
    driver.cuDeviceGet(ctypes.byref(device), number)
    for attribute in _CAPABILITY:
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        major_minor.append(value.value)
    return major_minor[0], major_minor[1]


def dtype_of(dtype: str, device: str = "auto") -> str:
    """The dtype that a config's `dtype` means here: `auto` is bfloat16 on CUDA, else float32.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
    """
    if dtype != "auto":
        return dtype
    on_cuda = has_cuda() if device == "auto" else device.startswith("cuda")
    return "bfloat16" if on_cuda else "float32"


def what_auto_is(dtype: str, device: str = "auto") -> dict[str, str]:
    """What a `dtype` of `auto` means on this machine; empty if the config names a dtype."""
    return {"`dtype: auto`": dtype_of(dtype, device)} if dtype == "auto" else {}


def _ask_torch() -> tuple[tuple[int, int], ...]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(torch.cuda.get_device_capability(number) for number in range(count))


@cache
def torch_build() -> str:
    """`cuda` or `hip`, what the installed torch was built for; empty for the CPU. Read from its
    files, because the import takes seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    version = Path(spec.origin).with_name("version.py").read_text()
    backend = re.search(r"^(cuda|hip)[^=\n]*=\s*['\"]", version, re.MULTILINE)
    return backend[1] if backend else ""


def visible_gpus() -> list[str]:
    """Names of the GPUs that torch would compute on, without importing it: a torch for the CPU
    uses none, whatever the driver shows."""
    if not torch_build():
        return []
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    devices = Path("/dev").glob("nvidia[0-9]*")
    return [str(number) for number in range(len(list(devices)))]
