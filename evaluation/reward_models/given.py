"""Answers that were given, not sampled, as the tables of a run, for the stage that scores a run."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from annotation.config import ScoreConfig
from contracts.config.base import Config
from contracts.models import hub
from contracts.steps.inputs import Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import write_atomic, write_part
from contracts.tables.schemas import PROMPTS, RESPONSES

_PART = 64
"""Prompts in a part, after which a kill loses nothing."""

RunStage = Callable[[Stage, Config, Inputs, Path], object]
"""Runs a stage unless it is done: here, as `run_once` does, or as a process of its own."""


class Given(Protocol):
    """A prompt with the answers to it."""

    @property
    def key(self) -> str:
        """A name that no other has."""

    @property
    def subset(self) -> str:
        """Where it is from."""

    @property
    def prompt(self) -> str:
        """The user's one message."""

    @property
    def answers(self) -> Sequence[str | None]:
        """None where there is none."""


def write_prompts(given: Sequence[Given], out: Path) -> Result:
    """Write PROMPTS."""
    for index, part in enumerate(_parts(given)):
        rows = [
            {
                "prompt_id": one.key,
                "messages": [{"role": "user", "content": one.prompt}],
                "source": one.subset,
                "split": "benchmark",
            }
            for one in part
        ]
        write_part(out, index, pa.Table.from_pylist(rows, PROMPTS), PROMPTS)
    return Result(rows=len(given))


def write_answers(given: Sequence[Given], out: Path) -> Result:
    """Write RESPONSES; a response's `sample` is its answer's place."""
    rows = 0
    for index, part in enumerate(_parts(given)):
        table = pa.Table.from_pylist([row for one in part for row in _responses(one)], RESPONSES)
        write_part(out, index, table, RESPONSES)
        rows += len(table)
    return Result(rows=rows)


def response_id(one: Given, place: int) -> str:
    """The id of the answer in that place."""
    return f"{one.key}-{place}"


@contextmanager
def kept_commits(folder: Path) -> Iterator[dict[str, str]]:
    """The commits that names on the hub stood for when the folder was begun; those that are added
    are kept with them."""
    path = folder / "commits.json"
    commits = json.loads(path.read_text()) if path.exists() else {}
    known = dict(commits)
    yield commits
    if commits != known:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(commits, indent=1).encode())


def pinned_models(config: ScoreConfig, commits: dict[str, str]) -> dict[str, str]:
    """The annotators' models by name, at those commits."""
    return {
        one.name: hub.pinned(commits, "model", one.reference)
        for one in config.annotators
        if one.reference
    }


def _parts(given: Sequence[Given]) -> list[Sequence[Given]]:
    return [given[start : start + _PART] for start in range(0, len(given), _PART)]


def _responses(one: Given) -> list[dict[str, object]]:
    return [
        {
            "prompt_id": one.key,
            "response_id": response_id(one, place),
            "sample": place,
            "seed": 0,
            "text": text,
            "token_ids": [],
            "finish_reason": "stop",
            "n_tokens": 0,
            "logprob": None,
            "policy": "given",
        }
        for place, text in enumerate(one.answers)
        if text is not None
    ]
