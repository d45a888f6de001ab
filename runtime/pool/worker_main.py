"""A worker's side of its life: begins, works until its starter hangs up, and says how it ended.

`python -m runtime.pool.worker_main MODULE:WORK PATH`, with the pipe for standard input and our
`sys.path` as JSON: the user's modules are found the way the stage finds them.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection

from tqdm import tqdm

from contracts.errors import OnPolicyError, UserError, named_first_line
from runtime.child_process import Child
from runtime.module_process import start_attached
from runtime.pool.messages import Link, announce_heartbeats
from runtime.stage_process import configure_logging

Work = Callable[[Link], None]
"""Module-level function: hears a job, says `ready`, and works for ever."""


def start_worker(work: Work, pipe: int, environment: Mapping[str, str]) -> Child:
    """A process that does `work` at the other end of `pipe`."""
    return start_named(name_of(work), sys.path, pipe, environment)


def name_of(work: Work) -> str:
    """`MODULE:FUNCTION`, by which another process finds the work."""
    return f"{work.__module__}:{work.__qualname__}"


def start_named(work: str, path: Sequence[str], pipe: int, environment: Mapping[str, str]) -> Child:
    """A process that does the work of that name, with `path` as its `sys.path`."""
    arguments = [work, json.dumps(list(path))]
    return start_attached("runtime.pool.worker_main", arguments, environment, pipe)


def _serve(connection: Connection, work: str) -> None:
    """Do `work` until the other side hangs up. The last words are `refused` for a user's
    mistake, `failed` for a failure that no second try mends, and `crash` for anything else."""
    # Ctrl-C may reach the whole session; the starter alone says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging()
    # Its own lock is a semaphore of the system's, which a killed worker leaves behind.
    tqdm.set_lock(threading.RLock())
    link = Link(connection)
    announce_heartbeats(link)
    module, _, name = work.partition(":")
    try:
        getattr(import_module(module), name)(link)
    except UserError as error:
        _last_words(link, refused=str(error))
    except OnPolicyError as error:
        _last_words(link, failed=str(error))
    except Exception as error:
        _last_words(link, crash=named_first_line(error))
    # The end is known at once; tearing an engine down takes seconds.
    os._exit(1)


def _last_words(link: Link, **words: str) -> None:
    with suppress(OSError):  # hung up
        link.send(**words)


def _pipe() -> Connection:
    """Standard input, out of the way of whatever reads that."""
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return Connection(pipe)


if __name__ == "__main__":
    sys.path[:] = json.loads(sys.argv[2])
    _serve(_pipe(), sys.argv[1])
