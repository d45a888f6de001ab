"""What a torch that was imported earlier, by the process we forked from, has read already."""

import os
import sys
from typing import Any


def reread_threads() -> None:
    """Make a torch that is loaded use OMP_NUM_THREADS; another reads it by itself."""
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if threads.isdigit() and (torch := sys.modules.get("torch")):
        torch.set_num_threads(int(threads))


def reread_compiling() -> None:
    """Make a torch that is loaded compile, or not, as TORCH_COMPILE_DISABLE says."""
    dynamo: Any = sys.modules.get("torch._dynamo.config")
    if dynamo:
        dynamo.disable = os.environ.get("TORCH_COMPILE_DISABLE", "0") == "1"
