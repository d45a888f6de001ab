"""One process of scoring: takes a part off a pipe, and sends the bytes of its scores back.

The pool sends a job, then one part after another; the worker answers `ready` with the facts of
its annotators, then `prepared` and `scored` for each part. It may be sent a part while it scores
one: that is prepared meanwhile. A part to be scored one by one is answered by a line before each
step (`next`), and by `fine` where no step crashed.
"""

import base64
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from annotation.config import ScoreConfig
from annotation.scoring.inputs import ScoreInputs
from annotation.scoring.part_scorer import PartScorer
from runtime.beside import made_ahead
from runtime.pool.messages import Link


def work(link: Link) -> None:
    """Score for ever."""
    job = link.receive()["job"]
    config = ScoreConfig.model_validate(job["config"])
    inputs = ScoreInputs.model_validate(job["inputs"])
    scoring = PartScorer(config, inputs, Path(job["out"]))
    link.send(ready=scoring.facts)
    for task in made_ahead(_tasks(link, scoring)):
        task()


def _tasks(link: Link, scoring: PartScorer) -> Iterator[Callable[[], None]]:
    """What the pool asks for, its parts prepared."""
    while True:
        message = link.receive()
        index, path = message["index"], Path(message["path"])
        if message["one_by_one"]:
            yield partial(_search, link, scoring, index, path)
        else:
            scored = scoring.prepare(index, path)
            link.send(prepared=index)
            yield partial(_score, link, index, scored)


def _score(link: Link, index: int, scored: Callable[[], bytes]) -> None:
    link.send(scored=index, scores=base64.b64encode(scored()).decode())


def _search(link: Link, scoring: PartScorer, index: int, path: Path) -> None:
    for step in scoring.one_by_one(index, path):
        link.send(next=step)
    link.send(fine=True)
