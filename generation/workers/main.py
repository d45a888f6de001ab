"""One process of sampling: an engine that takes requests off a pipe and sends outcomes back.

The pool sends a job, then lists of batches; the worker answers `ready`, then `outcomes`.
"""

from typing import Any

from contracts.models.copies import located
from generation.config import SampleConfig
from generation.engines import Batch, Engine, Job, start
from generation.engines.requests import Request
from runtime.pool.messages import Link, WorkerMessage, heartbeat


def pack_job(job: Job) -> WorkerMessage:
    """A job as JSON."""
    return vars(job) | {"config": job.config.model_dump(mode="json")}


def pack_batches(batches: list[Batch]) -> list[list[Any]]:
    """Batches of requests as JSON."""
    return [[list(vars(request).values()) for request in batch] for batch in batches]


def work(link: Link) -> None:
    """Sample for ever."""
    job = link.receive()["job"]
    config = SampleConfig.model_validate(job.pop("config"))
    job |= {"policy": located(job["policy"]), "adapter": job["adapter"] and located(job["adapter"])}
    engine = start(Job(config=config, **job))
    link.send(ready=engine.capacity)
    in_flight = 0
    while True:
        in_flight += _take_in(engine, link, wait=not in_flight)
        if outcomes := engine.step():
            in_flight -= len(outcomes)
            link.send(outcomes=[vars(outcome) for outcome in outcomes])
        else:
            heartbeat()


def _take_in(engine: Engine, link: Link, wait: bool) -> int:
    """Give the engine what has come; the number of requests."""
    count = 0
    while wait or link.waiting:
        for fields in link.receive()["batches"]:
            batch = [Request(*values) for values in fields]
            engine.add(batch)
            count += len(batch)
        wait = False
    return count
