"""What can be known before the first stage: of all stages that are left, all told at once.

Files, headers and the environment are looked at here, in milliseconds. What needs imports (the
user's functions, tokenizers and their templates) is tried by a process beside this one
(flows.pipeline.checks.look_inside), while the run's server starts.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import annotation.readiness
import evaluation.readiness
import generation.readiness
import training.readiness
from annotation.config import Annotator, ScoreConfig
from contracts.checks import Check, faults
from contracts.errors import UserError
from contracts.models.hub import is_hub_id
from contracts.models.model import local_folder
from contracts.models.weights import refuse_other_weights
from contracts.steps.disk_space import NO_ROOM
from contracts.steps.step import Stage
from evaluation import judge, questions
from flows.pipeline.checks.cluster import cluster_checks
from flows.pipeline.checks.enough_prompts import refuse_empty_round
from flows.pipeline.checks.look_inside import FOUND, Inside
from flows.pipeline.checks.still_there import refuse_freed
from flows.pipeline.checks.worth_knowing import most_pairs, worth_knowing
from flows.pipeline.config import RunConfig
from flows.pipeline.console import saying
from flows.pipeline.folder.claimed import dated
from flows.pipeline.folder.run_folder import settled, steps_left
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.planning.spread import spread
from flows.pipeline.store.adopt import refuse_unusable
from generation import prompts, sample
from generation.config import SampleConfig
from generation.engines.adapter import resolve
from runtime.child_process import Child
from runtime.module_process import start_module
from training import format as tokens
from training import reference, train
from training.launch.disk_space import refuse_no_room, steps_of

# Policies beside those that `resources.keep_policies` names: the one that is written, and two that
# an open gate may go back to.
_BESIDE_KEPT = 3
# The stages that read the policy: its weights, or its tokenizer and template.
_OF_THE_POLICY = (sample.STAGE, tokens.STAGE, reference.STAGE, train.STAGE)


class Looking:
    """Checks of a config, begun."""

    def __init__(self, config: RunConfig, left: Sequence[PlannedStep] | None = None) -> None:
        """Make the quick checks, and begin the others.

        Args:
            left: the steps that are to be made; all that are not done, unless given. What they
                do not need is not looked at.

        Raises:
            UserError: names all that is amiss.
        """
        config = settled(config)
        left = steps_left(config) if left is None else left
        inside = _inside(config, left)
        # Its imports take seconds, so that none is begun for nothing.
        needed = inside.policy or inside.annotators
        self._inside = _start(inside.model_dump_json()) if needed else None
        self._found = quick_faults(config, left)
        if self._found:
            self.refuse()

    def refuse(self) -> None:
        """Wait for the rest.

        Raises:
            UserError: names all that is amiss.
        """
        with saying("looking at tokenizers, chat templates and functions"):
            slow = _answer(self._inside) if self._inside else []
        faults = list(dict.fromkeys([*self._found, *slow]))
        if faults:
            raise UserError("nothing was started:\n  " + "\n  ".join(faults))


def refuse_unready(config: RunConfig, left: Sequence[PlannedStep] | None = None) -> None:
    """Refuse a run that would end at one of its stages for a reason that is known before.

    Args:
        left: as `Looking`.

    Raises:
        UserError: names all that is amiss, each with its key and the way out.
    """
    Looking(config, left).refuse()


def quick_faults(config: RunConfig, left: Sequence[PlannedStep] | None = None) -> list[str]:
    """What files, headers and the environment tell of the steps `left`, a line each."""
    return faults(_checks(config, steps_left(config) if left is None else left))


def summary(config: RunConfig) -> str:
    """What `refuse_unready` looked at, and what it could not look into."""
    policy, *others = _references(config)
    away = list(dict.fromkeys(filter(_is_away, (policy, *others))))
    whose = "" if policy in away else f"the policy {config.policy.path}, "
    annotators = len(annotators_of(config)) - sum(name in away for name in others)
    sources = list(prompts.inputs_of(config.prompts).by_name.values())
    hub = [source for source in sources if is_hub_id(source)]
    left = steps_left(config)
    done = len(plan(settled(config))) - len(left)
    told = (
        f"{config.name}: ready. Looked at {whose}{annotators} annotator(s), "
        f"{len(sources) - len(hub)} source(s) of prompts, the engines, the trainer and the room on "
        f"the disk for all rounds ({config.rounds}) below {config.runs_dir}"
    )
    told += f", as far as the steps that are left need them: {done} are done" if done else ""
    told += "".join(f". Mind that {line}" for line in worth_knowing(config, left))
    if away or hub:
        told += f". Not looked into, as it is on the hub and not here: {', '.join(away + hub)}"
    return told


def _references(config: RunConfig) -> list[str]:
    """Every model, the policy first."""
    models = [config.policy, *annotators_of(config).values()]
    return [config.pinned(model.reference) for model in models if model.reference]


def _is_away(model: str) -> bool:
    """Whether a model is not on this machine, so that nothing but its name is known."""
    return local_folder(resolve(model).model) is None


def annotators_of(config: RunConfig) -> dict[str, Annotator]:
    """All annotators, by their keys."""
    lists = {"annotation": config.annotation.annotators, "evaluation": config.evaluation.annotators}
    return {
        f"{name}.annotators.{number}": _pinned(config, annotator)
        for name, annotators in lists.items()
        for number, annotator in enumerate(annotators)
    }


def _checks(config: RunConfig, left: Sequence[PlannedStep]) -> Iterator[Check]:
    policy = config.pinned(config.policy.reference)
    if _has(left, *_OF_THE_POLICY):
        yield from generation.readiness.policy_checks("policy.path", policy)
    if _has(left, prompts.STAGE):
        yield from generation.readiness.prompt_checks(config.prompts)
    yield Check("prompts_per_round", lambda: refuse_empty_round(config, left))
    if _has(left, questions.STAGE):
        yield from evaluation.readiness.benchmark_checks(config.evaluation.benchmarks)
    if _has(left, judge.STAGE):
        yield from evaluation.readiness.judging_checks(
            settled(config).evaluation, lambda reference: config.pinned(reference, "dataset")
        )
    yield from generation.readiness.sampling_checks(_samplings(config, left), policy)
    if annotators := _annotators(config, left):
        scoring = spread(config.annotation, config.resources)
        yield from annotation.readiness.checks(scoring, annotators)
    if _has(left, reference.STAGE, train.STAGE):
        for key, of in config.stretches.items():
            spread_out = spread(of.training, config.resources)
            for check in training.readiness.checks(spread_out, policy):
                yield replace(check, key=f"{key}{check.key}") if key else check
    yield Check(str(config.folder), lambda: refuse_freed(config, left))
    yield Check("resources.store", lambda: refuse_unusable(config))
    yield from cluster_checks(_references(config), left)
    yield Check("runs_dir", lambda: _refuse_no_room(config, policy, left))


def _has(left: Sequence[PlannedStep], *stages: Stage) -> bool:
    return any(step.stage in stages for step in left)


def _samplings(config: RunConfig, left: Sequence[PlannedStep]) -> dict[str, SampleConfig]:
    """The sections by which the steps that are left sample, by their keys."""
    rounds = {f"{key}sampling": of.sampling for key, of in config.stretches.items()}
    sections = {
        "responses": rounds,
        "evaluation/responses": {"evaluation.sampling": config.evaluation.sampling},
        "evaluation/benchmark_responses": {"evaluation.benchmarks": config.evaluation.answering},
    }
    sampled = [step.path for step in left if step.stage == sample.STAGE]
    pairs = (pair for path in sampled for pair in sections[path.split("/", 1)[1]].items())
    return {key: spread(section, config.resources) for key, section in pairs}


def _annotators(config: RunConfig, left: Sequence[PlannedStep]) -> dict[str, Annotator]:
    """Those who score in the steps that are left, by their keys."""
    names = {
        annotator.name
        for step in left
        if isinstance(step.config, ScoreConfig)
        for annotator in step.config.annotators
    }
    return {key: one for key, one in annotators_of(config).items() if one.name in names}


def _pinned(config: RunConfig, annotator: Annotator) -> Annotator:
    """An annotator whose model, if it has one, is at the commit that the run has fixed."""
    return annotator.at(config.pinned(annotator.reference)) if annotator.reference else annotator


def refuse_read_only(folder: Path) -> None:
    """Refuse a folder that cannot be written to.

    Raises:
        UserError: nothing can be written where the run's folder is, or is to be.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):  # without a name: nothing of it is seen
            pass
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise UserError(f"{there}: nothing can be written there ({error.strerror}); set `runs_dir` "
                        "to a folder of your own") from None  # fmt: skip


def _refuse_no_room(config: RunConfig, policy: str, steps: Sequence[PlannedStep]) -> None:
    refuse_read_only(config.folder)
    # One that is made anew takes the place of the one that is there.
    trainings = [step for step in steps if step.stage == train.STAGE]
    left = [step for step in trainings if not (step.out / "_manifest.json").exists()]
    try:
        weights = refuse_other_weights(policy)
    except UserError:  # told by its own check
        return
    if left and weights:
        keep = config.resources.keep_policies
        at_once = min(len(left), keep + _BESIDE_KEPT) if keep else len(left)
        refuse_no_room(config.training, weights, left[0].out, _steps(config), at_once)


def _steps(config: RunConfig) -> int | None:
    """Optimizer steps of a round at most, where they can be known."""
    pairs = most_pairs(config)
    return None if pairs is None else steps_of(config.training, pairs)


def _inside(config: RunConfig, left: Sequence[PlannedStep]) -> Inside:
    config = dated(config)  # the claim, which fixes the day, comes after the looks
    reads_policy = _has(left, *_OF_THE_POLICY)
    policy = config.policy.at(config.pinned(config.policy.reference))
    return Inside(policy=policy if reads_policy else None, annotators=_annotators(config, left))


@cache
def _start(text: str) -> Child:
    """The process that looks inside; one for all points of a sweep that have these in common."""
    return start_module("flows.pipeline.checks.look_inside", [text], {})


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
