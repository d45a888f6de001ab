"""Copies of models for a process that does not see them where they are named."""

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_VARIABLE = "ONPOLICY_MODEL_COPIES"
_held: dict[str, int] = {}
"""Descriptors of the copies that this process uses."""


def environment_for(copies: Mapping[str, str]) -> dict[str, str]:
    """What tells a process where models lie for it.

    Args:
        copies: folders, by the models' names.
    """
    return {_VARIABLE: json.dumps(dict(copies))}


def located(reference: str) -> str:
    """Where this process finds a model: its copy here if it was given one, else where it is
    named. A copy stays as long as this process: a training reads it again when it ends."""
    copies: dict[str, str] = json.loads(os.environ.get(_VARIABLE, "{}"))
    copy = copies.get(reference)
    if copy and copy not in _held:
        with suppress(OSError):  # a file system without locks
            _held[copy] = os.open(copy, os.O_RDONLY)
            fcntl.flock(_held[copy], fcntl.LOCK_SH | fcntl.LOCK_NB)
    return copy or reference


def is_in_use(copy: Path) -> bool:
    """Whether a process of this machine that lives has `located` this copy."""
    folder = os.open(copy, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # NFS locks no folder
        return False
    finally:
        os.close(folder)
    return False
