"""One process of sampling: an engine that takes requests off a pipe and sends outcomes back.

Messages are JSON: nothing in them is ever run. The crew sends a job, then lists of batches;
the worker answers `ready`, then `outcomes`, and at its end `crash` or `refused` with the reason.
"""

import json
import os
import queue
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from tqdm import tqdm

from contracts.errors import UserError
from contracts.process import configure_logging
from generation.config import SampleConfig
from generation.engines import Batch, Engine, Job, start
from generation.requests import Request

Message = dict[str, Any]


def send(connection: Connection, **message: Any) -> None:
    """Put a message into a pipe."""
    connection.send_bytes(json.dumps(message, separators=(",", ":")).encode())


def receive(connection: Connection) -> Message:
    """The next message of a pipe.

    Raises:
        EOFError: the other side has closed it, or died.
    """
    try:
        return dict(json.loads(connection.recv_bytes()))
    except OSError:
        raise EOFError from None


def pack_job(job: Job) -> Message:
    """A job as JSON."""
    return vars(job) | {"config": job.config.model_dump(mode="json")}


def pack_batches(batches: list[Batch]) -> list[list[Any]]:
    """Batches of requests as JSON."""
    return [[list(vars(request).values()) for request in batch] for batch in batches]


def serve(connection: Connection, environment: Mapping[str, str]) -> None:
    """Work until the crew hangs up."""
    os.environ.update(environment)
    # Ctrl-C reaches the whole process group; the crew alone says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging()
    # Its own lock is a semaphore of the system's, which a killed worker leaves behind.
    tqdm.set_lock(threading.RLock())
    try:
        _work(connection)
    except UserError as error:
        _say(connection, refused=str(error))
    except Exception as error:
        _say(connection, crash=_describe(error))
    # The crew learns of the end at once; tearing an engine down takes seconds.
    os._exit(1)


def _work(connection: Connection) -> None:
    job = receive(connection)["job"]
    config = SampleConfig.model_validate(job.pop("config"))
    engine = start(Job(config=config, **job))
    send(connection, ready=engine.capacity)
    inbox: queue.SimpleQueue[list[Batch]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    in_flight = 0
    while True:
        in_flight += _take_in(engine, inbox, wait=not in_flight)
        if outcomes := engine.step():
            in_flight -= len(outcomes)
            send(connection, outcomes=[vars(outcome) for outcome in outcomes])


def _listen(connection: Connection, inbox: "queue.SimpleQueue[list[Batch]]") -> None:
    """Read at all times, so that the crew never waits for an engine's step to end."""
    while True:
        try:
            message = receive(connection)
        except EOFError:
            os._exit(0)
        inbox.put([[Request(*fields) for fields in batch] for batch in message["batches"]])


def _take_in(engine: Engine, inbox: "queue.SimpleQueue[list[Batch]]", wait: bool) -> int:
    """Give the engine what has come; the number of requests."""
    count = 0
    while wait or not inbox.empty():
        for batch in inbox.get():
            engine.add(batch)
            count += len(batch)
        wait = False
    return count


def _say(connection: Connection, **words: str) -> None:
    """Last words, unless the crew has hung up."""
    with suppress(OSError):
        send(connection, **words)


def _describe(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
