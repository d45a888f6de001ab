"""Environment variables for the time of an import."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def while_importing(set_them: Callable[[], None]) -> Iterator[None]:
    """Within, the environment is as `set_them` makes it; what that adds goes again. A process
    that is forked later may want it otherwise."""
    before = set(os.environ)
    set_them()
    added = os.environ.keys() - before
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
