"""What this machine computes on, and what `dtype: auto` means here."""

import ctypes
import importlib.util
import re
import sys
from functools import cache
from pathlib import Path


def has_cuda() -> bool:
    """Whether torch finds a CUDA device. Where torch is not imported yet the driver is asked, as
    torch would ask it: the import takes seconds."""
    if torch := sys.modules.get("torch"):
        return bool(torch.cuda.is_available())
    return driver_has_device()


@cache
def driver_has_device() -> bool:
    """Whether this is a torch for CUDA, and the driver shows a device to this process."""
    if (build := torch_build()) != "cuda":
        return build == "hip" and _ask_torch()
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    ready = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return ready and count.value > 0


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


def _ask_torch() -> bool:
    import torch

    return torch.cuda.is_available()
