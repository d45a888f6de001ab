"""A worker's side of its life: begins, works until its starter hangs up, and says how it ended."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection

from tqdm import tqdm

from contracts.errors import OnPolicyError, UserError, named_first_line
from runtime.pool.messages import Link, announce_heartbeats
from runtime.stage_process import configure_logging

Work = Callable[[Link], None]
"""Module-level function: hears a job, says `ready`, and works for ever."""


def serve(connection: Connection, environment: Mapping[str, str], work: Work) -> None:
    """Do `work` until the other side hangs up. The last words are `refused` for a user's
    mistake, `failed` for a failure that no second try mends, and `crash` for anything else."""
    # A group of its own: what an engine starts ends with the worker.
    os.setpgid(0, 0)
    os.environ.update(environment)
    _set_threads(environment)
    # Ctrl-C may reach the whole session; the starter alone says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging()
    # Its own lock is a semaphore of the system's, which a killed worker leaves behind.
    tqdm.set_lock(threading.RLock())
    link = Link(connection)
    announce_heartbeats(link)
    try:
        work(link)
    except UserError as error:
        _last_words(link, refused=str(error))
    except OnPolicyError as error:
        _last_words(link, failed=str(error))
    except Exception as error:
        _last_words(link, crash=named_first_line(error))
    # The end is known at once; tearing an engine down takes seconds.
    os._exit(1)


def _set_threads(environment: Mapping[str, str]) -> None:
    """A torch that was imported before the fork has read OMP_NUM_THREADS already."""
    if "torch" in sys.modules and (threads := environment.get("OMP_NUM_THREADS")):
        sys.modules["torch"].set_num_threads(int(threads))


def _last_words(link: Link, **words: str) -> None:
    with suppress(OSError):  # hung up
        link.send(**words)
