"""What a stage's process need not import."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname == "pandas":
            raise ImportError(fullname)


def spare_pandas() -> None:
    """Keep pyarrow from importing pandas at its first conversion, which takes half a second.

    pyarrow asks once, in case the value were one of pandas'; no stage of ours gives it any.
    Whoever imports pandas later has it.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow

    with without_pandas():
        pyarrow.scalar(0)


@contextmanager
def without_pandas() -> Iterator[None]:
    """Imports in here do not find pandas: scikit-learn's first one takes 3.4 CPU seconds without
    it, 5.4 with it, and is given none of its frames here."""
    refuses = _NoPandas()
    sys.meta_path.insert(0, refuses)
    try:
        yield
    finally:
        sys.meta_path.remove(refuses)
