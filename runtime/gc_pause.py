"""Starting faster."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collecting() -> Iterator[None]:
    """Within, no garbage collection runs; objects made there are never collected later either.

    Importing torch, transformers and vLLM makes millions of objects that live to the end.
    Collecting while they come, and in the five full collections of vLLM's start, was seen
    to cost about 3 s on two cores.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
