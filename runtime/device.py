"""What this machine computes on, and what `dtype: auto` means here."""

import ctypes
import importlib.util
import re
import sys
from functools import cache
from pathlib import Path

# CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
_CAPABILITY = (75, 76)


def has_cuda() -> bool:
    """Whether torch finds a CUDA device. Where torch is not imported yet the driver is asked, as
    torch would ask it: the import takes seconds."""
    if torch := sys.modules.get("torch"):
        return bool(torch.cuda.is_available())
    return driver_has_device()


def driver_has_device() -> bool:
    """Whether this is a torch for CUDA, and the driver shows a device to this process."""
    return bool(_driver_capabilities())


def capability() -> tuple[int, int] | None:
    """The least compute capability of the GPUs in sight, so that one dtype is for all of them;
    None where torch finds no CUDA device. Asked as `has_cuda` asks."""
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
    device, value, found = ctypes.c_int(0), ctypes.c_int(0), []
    driver.cuDeviceGet(ctypes.byref(device), number)
    for attribute in _CAPABILITY:
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        found.append(value.value)
    return found[0], found[1]


def dtype_of(asked: str, device: str = "auto") -> str:
    """The dtype that a config's `dtype` means here: `auto` is bfloat16 on CUDA, else float32.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
    """
    if asked != "auto":
        return asked
    on_cuda = has_cuda() if device == "auto" else device.startswith("cuda")
    return "bfloat16" if on_cuda else "float32"


def what_auto_is(asked: str, device: str = "auto") -> dict[str, str]:
    """As `Stage.here`: what a `dtype` of `auto` is on this machine; nothing where it is named."""
    return {"`dtype: auto`": dtype_of(asked, device)} if asked == "auto" else {}


def _ask_torch() -> tuple[tuple[int, int], ...]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(torch.cuda.get_device_capability(number) for number in range(count))


@cache
def torch_build() -> str:
    """`cuda` or `hip`, what the installed torch was built for; empty for the CPU. Told from its
    files: the import takes seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    version = Path(spec.origin).with_name("version.py").read_text()
    found = re.search(r"^(cuda|hip)[^=\n]*=\s*['\"]", version, re.MULTILINE)
    return found[1] if found else ""
