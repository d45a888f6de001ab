"""One process of scoring: takes a part off a pipe, and sends the bytes of its scores back.

The pool sends a job, then one part after another; the worker answers `ready` with the facts of
its annotators, then `scored`. A part to be scored one by one is answered by a line before each
step (`next`), and by `fine` where no step crashed.
"""

import base64
from pathlib import Path

from annotation.config import ScoreConfig
from annotation.scoring.inputs import ScoreInputs
from annotation.scoring.part_scorer import PartScorer
from runtime.pool.messages import Link


def work(link: Link) -> None:
    """Score for ever."""
    job = link.receive()["job"]
    config = ScoreConfig.model_validate(job["config"])
    inputs = ScoreInputs.model_validate(job["inputs"])
    scoring = PartScorer(config, inputs, Path(job["out"]))
    link.send(ready=scoring.facts)
    while True:
        message = link.receive()
        index, path = message["index"], Path(message["path"])
        if message["one_by_one"]:
            for step in scoring.one_by_one(index, path):
                link.send(next=step)
            link.send(fine=True)
        else:
            data = scoring.part(index, path)
            link.send(scored=base64.b64encode(data).decode())
