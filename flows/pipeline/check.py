"""What can be known before the first stage: of all stages, all told at once.

Files, headers and the environment are looked at here, in milliseconds. What needs imports (the
user's functions, tokenizers and their templates) is tried by a process beside this one
(flows.pipeline.look_inside), while the run's server starts.
"""

import json
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import annotation.readiness
import generation.readiness
import training.readiness
from annotation.config import Annotator
from contracts.checks import Check, faults
from contracts.config.base import Config
from contracts.errors import UserError
from contracts.models.model import ModelConfig, split_reference
from contracts.models.weights import refuse_other_weights
from flows.pipeline.claimed import dated
from flows.pipeline.config import RunConfig
from flows.pipeline.look_inside import FOUND, Inside
from flows.pipeline.plan import plan
from flows.pipeline.run_folder import settled
from runtime.child_process import Child, start_child
from training.launch.disk_space import refuse_no_room, steps_of

M = TypeVar("M", bound=Config)


class Looking:
    """Checks of a config, begun."""

    def __init__(self, config: RunConfig) -> None:
        """Make the quick checks, and begin the others.

        Raises:
            UserError: names all that is amiss.
        """
        config = settled(config)
        self._name = config.name
        self._inside = _start(_inside(config).model_dump_json())
        self._found = quick_faults(config)
        if self._found:
            self.refuse()

    def refuse(self) -> None:
        """Wait for the rest.

        Raises:
            UserError: names all that is amiss.
        """
        found = list(dict.fromkeys([*self._found, *_answer(self._inside)]))
        if found:
            raise UserError("nothing was started:\n  " + "\n  ".join(found))


def refuse_unready(config: RunConfig) -> None:
    """Refuse a run that would end at one of its stages for a reason that is known before.

    Raises:
        UserError: names all that is amiss, each with its key and the way out.
    """
    Looking(config).refuse()


def quick_faults(config: RunConfig) -> list[str]:
    """What files, headers and the environment tell, a line each."""
    return faults(_checks(config))


def summary(config: RunConfig) -> str:
    """What `refuse_unready` looked at."""
    annotators = len(annotators_of(config))
    files = len(config.prompts.inputs)
    return (
        f"{config.name}: ready. Looked at the policy {config.policy.path}, {annotators} "
        f"annotator(s), {files} source(s) of prompts, the engines, the trainer and the room on the "
        f"disk for {config.rounds} round(s) below {config.runs_dir}"
    )


def annotators_of(config: RunConfig) -> dict[str, Annotator]:
    """All annotators, by their keys."""
    lists = {"annotation": config.annotation.annotators, "evaluation": config.evaluation.annotators}
    return {
        f"{name}.annotators.{number}": _pinned(config, annotator)
        for name, annotators in lists.items()
        for number, annotator in enumerate(annotators)
    }


def _checks(config: RunConfig) -> Iterator[Check]:
    policy = config.pinned(config.policy.reference)
    sampling = {"sampling": config.sampling, "evaluation.sampling": config.evaluation.sampling}
    annotators = annotators_of(config)
    yield from generation.readiness.policy_checks("policy.path", policy)
    yield from generation.readiness.prompt_checks(config.prompts)
    yield from generation.readiness.sampling_checks(sampling, policy)
    yield from annotation.readiness.checks(config.annotation, annotators)
    yield from training.readiness.checks(config.training, policy)
    yield Check("runs_dir", lambda: _refuse_no_room(config, policy))


def _pinned(config: RunConfig, model: M) -> M:
    """A model, or what has one, by the commit that the run has fixed."""
    if not isinstance(model, ModelConfig):
        return model
    path, revision = split_reference(config.pinned(model.reference))
    return model.model_copy(update={"path": path, "revision": revision})


def refuse_read_only(folder: Path) -> None:
    """
    Raises:
        UserError: nothing can be written where the run's folder is, or is to be.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"{there}: nothing can be written there; set `runs_dir` to a folder of "
                        "your own")  # fmt: skip


def _refuse_no_room(config: RunConfig, policy: str) -> None:
    refuse_read_only(config.folder)
    left = [step for step in plan(config) if step.label == "train policy" and not step.done]
    try:
        weights = refuse_other_weights(policy)
    except UserError:  # told by its own check
        return
    if left and weights:
        refuse_no_room(config.training, weights, left[0].out, _steps(config), len(left))


def _steps(config: RunConfig) -> int | None:
    """Optimizer steps of a round at most, where they can be known."""
    limit = config.prompts.limit
    prompts = config.prompts_per_round or (limit and limit - config.prompts.test_size)
    if not prompts or config.pairs.strategy == "all_above_margin":
        return None
    return steps_of(config.training, prompts)


def _inside(config: RunConfig) -> Inside:
    config = dated(config)  # the claim, which fixes the day, comes after the looks
    return Inside(policy=_pinned(config, config.policy), annotators=annotators_of(config))


@cache
def _start(text: str) -> Child:
    """The process that looks inside; one for all points of a sweep that have these in common."""
    return start_child([sys.executable, "-m", "flows.pipeline.look_inside", text], {})


@cache
def _answer(process: Child) -> list[str]:
    assert process.stdout is not None
    last = "no word"
    for line in process.stdout:
        if line.startswith(FOUND):
            process.wait()
            return [str(fault) for fault in json.loads(line[len(FOUND) :])]
        last = line.strip() or last
    return [f"looking at tokenizers and functions ended with code {process.wait()}: {last}"]
