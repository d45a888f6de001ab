"""`onpolicy evaluate`: benchmarks answered by any policies, outside a run.

The questions lie in the folder once, each policy's answers in a folder of their own. What judges
answers, or compares two policies, reads `evaluation.json` and the ANSWERS that it leads to.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

import evaluation.readiness
import generation.readiness
from contracts.checks import faults
from contracts.config.base import apply_overrides, as_file_name, check, read_yaml
from contracts.errors import ConfigDrift, UserError
from contracts.models import hub
from contracts.steps.disk_space import refuse_unwritable
from contracts.steps.fingerprint import of_json
from contracts.steps.lock import folder_lock
from contracts.steps.manifest import read_manifest
from contracts.steps.step import claim, drift_told
from contracts.tables.parts import write_atomic
from evaluation import answers, questions
from evaluation.benchmarks import NamedBenchmark
from evaluation.config import (
    AnswersConfig,
    JudgedConfig,
    OutputsLabel,
    QuestionsConfig,
    answering,
)
from evaluation.judging.config import RunJudge
from flows.pipeline.console import print_done, print_warning
from flows.pipeline.folder.drift import drifted
from flows.pipeline.planning.judging_steps import gains_step, judging_steps
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.preload import preload
from flows.pipeline.shown_step import run_shown
from generation import sample
from generation.config import SampleConfig
from generation.engines import adapter
from runtime.chat_api.endpoint import has_key
from runtime.signals import interruptible

RECORD = "evaluation.json"
_OF_RUN = ("benchmarks", "sampling", "judges", "judged_with", "win_rates")
"""Keys of a run's evaluation that mean the same here."""


class EvaluateConfig(JudgedConfig):
    """What `onpolicy evaluate` asks, by what engine, and who judges."""

    benchmarks: list[NamedBenchmark] = Field(min_length=1)
    """What every policy is asked."""
    sampling: SampleConfig = SampleConfig()
    """The engine, its dtype, its seed; how an answer is drawn, each benchmark says."""


@dataclass
class Record:
    """What `evaluation.json` holds: who was asked, and what each name on the hub stood for."""

    policies: dict[str, str] = field(default_factory=dict)
    """Label, which is the folder's name too, to the policy."""
    against: str | None = None
    """Label of the policy that the others are to be compared with."""
    commits: dict[str, str] = field(default_factory=dict)

    def pinned(self, kind: hub.Kind, reference: str) -> str:
        """The reference by the commit that it stood for when it was first asked."""
        return hub.pinned(self.commits, kind, reference)

    def base_of(self, label: str) -> str | None:
        """What the policy is an adapter to, by its commit, where that lies on the hub."""
        base = adapter.resolve(self.policies[label]).model
        return self.pinned("model", base) if hub.may_move(base) else None

    def label_of(self, policy: str) -> str:
        """The policy's label; a new one where it has none."""
        known = {reference: label for label, reference in self.policies.items()}
        if policy in known:
            return known[policy]
        label = _label(policy)
        if label in self.policies:
            label = f"{label}-{of_json(policy)[:6]}"
        self.policies[label] = policy
        return label


def read_config(
    path: Path | None, benchmarks: Sequence[str], overrides: Sequence[str]
) -> EvaluateConfig:
    """The config of a file, e.g. a run's, whose evaluation it then is; of none, the defaults.

    Args:
        benchmarks: names in place of the file's.

    Raises:
        UserError: names every key that is unknown, mistyped or out of range.
    """
    data = read_yaml(path) if path else {}
    if "evaluation" in data:
        data = _of_run(data)
    if benchmarks:
        data = data | {"benchmarks": list(benchmarks)}
    data = apply_overrides(data, overrides)
    config = check(EvaluateConfig, data, origin=str(path or "onpolicy evaluate"))
    return config.model_copy(update={"judges": [_asked_or_not(one) for one in config.judges]})


def _asked_or_not(one: RunJudge) -> RunJudge:
    """Where the judge does not say it: whether its key is there."""
    if one.enabled is not None:
        return one
    if not has_key(one):
        print_warning(f"judge {one.name!r} is not asked: {one.resources.api_key_env} is not set")
    return one.model_copy(update={"enabled": has_key(one)})


def _of_run(run: dict[str, Any]) -> dict[str, Any]:
    """A run's evaluation, with how its policy's template is applied."""
    section = run["evaluation"] or {}
    template = {key: run["policy"][key] for key in ("bos", "date") if key in run.get("policy", {})}
    given = {key: section[key] for key in _OF_RUN if section.get(key)}
    return given | {"sampling": {**given.get("sampling", {}), **template}}


def evaluate(
    config: EvaluateConfig, policies: Sequence[str], against: str | None, folder: Path
) -> tuple[list[str], str | None]:
    """Answer and judge what is not yet; the labels, and whose figures the gains are over.

    Raises:
        UserError: a policy or a file is not there or not right.
        ConfigDrift: what lies in the folder was made by another config, e.g. of other questions.
    """
    base = [against] if against else _unanswered_base(read_record(folder), folder)
    references = list(dict.fromkeys([*policies, *base]))
    refuse_unready(config, references, read_record(folder))
    refuse_unwritable(folder, "give a folder of your own as `--out`")
    with interruptible(), folder_lock(folder):
        record = read_record(folder)
        labels = {policy: record.label_of(record.pinned("model", policy)) for policy in references}
        record.against = labels[against] if against else record.against
        bases = {label: record.base_of(label) for label in labels.values()}
        steps = list(plan_evaluation(config, record, list(labels.values()), folder, bases))
        refuse_drift(steps)
        write_atomic(folder / RECORD, json.dumps(vars(record), indent=1).encode())
        preload([step for step in steps if not step.done])
        for step in steps:
            _run(step)
    return list(labels.values()), record.against


def plan_evaluation(
    config: EvaluateConfig,
    record: Record,
    labels: Sequence[str],
    folder: Path,
    bases: Mapping[str, str | None],
) -> Iterator[PlannedStep]:
    """The questions, then each policy's responses and answers, judgements and gains.

    Args:
        bases: by label, what a policy is an adapter to, where that lies on the hub.
    """
    named: dict[str, Any] = {"benchmarks": config.benchmarks}
    sources = [record.pinned("dataset", one.source) for one in config.benchmarks]
    inputs = questions.QuestionsInputs(sources=sources)
    questions_step = PlannedStep(
        folder, "questions", "read benchmark questions", questions.STAGE, QuestionsConfig(**named),
        inputs,
    )  # fmt: skip
    yield questions_step
    for label in labels:
        settings = answering(config.sampling, config.benchmarks)
        to_ask = sample.SampleInputs(
            prompts=questions_step.out, policy=record.policies[label], base=bases.get(label)
        )
        answered = PlannedStep(
            folder, f"{label}/responses", f"{label}: answer benchmarks", sample.STAGE, settings,
            to_ask,
        )  # fmt: skip
        yield answered
        called = AnswersConfig(**named, label=OutputsLabel(generator=label))
        read = answers.AnswersInputs(questions=questions_step.out, responses=answered.out)
        title = f"{label}: score and write answers"
        yield PlannedStep(folder, f"{label}/answers", title, answers.STAGE, called, read)
    yield from _judging(config, record, labels, folder)


def _judging(
    config: EvaluateConfig, record: Record, labels: Sequence[str], folder: Path
) -> Iterator[PlannedStep]:
    """Each policy's judgements, then its gains; first the one's that the others are compared
    with, whether named again or not."""
    pinned, base = partial(record.pinned, "dataset"), record.against
    for label in dict.fromkeys([*([base] if base else []), *labels]):
        steps = [*judging_steps(config, folder, "questions", label, None, pinned)]
        if steps and base and label != base:
            steps.append(gains_step(config, folder, "questions", label, base, pinned))
        yield from (replace(step, label=f"{label}: {step.label}") for step in steps)


def _unanswered_base(record: Record, folder: Path) -> list[str]:
    """The policy that was to be compared with, where it has not answered yet."""
    label = record.against
    if label is None or read_manifest(folder / label / "answers"):
        return []
    return [record.policies[label]]


def refuse_drift(steps: Sequence[PlannedStep]) -> None:
    """Refuse what any step would, before the first of them asks anyone anything.

    Raises:
        ConfigDrift: a step was made by another config or from other inputs.
        UserError: files of a finished step are gone or new.
    """
    for one in drifted(steps, [], set()):
        if one.changes:
            raise ConfigDrift(drift_told(one.step.out, one.changes))
        if one.damage or one.added:
            claim(one.step.stage, one.step.config, one.step.inputs, one.step.out)


def refuse_unready(config: EvaluateConfig, policies: Sequence[str], record: Record) -> None:
    """Refuse an evaluation that cannot succeed, before anything is started.

    Raises:
        UserError: names all that can be known to be amiss before anything is started.
    """
    sampling = answering(config.sampling, config.benchmarks)
    checks = [*evaluation.readiness.benchmark_checks(config.benchmarks)]
    checks += evaluation.readiness.judging_checks(config, partial(record.pinned, "dataset"))
    for policy in policies:
        checks += generation.readiness.policy_checks(policy, policy)
        checks += generation.readiness.sampling_checks({"sampling": sampling}, policy)
    if lines := faults(checks):
        raise UserError("nothing was started:\n  " + "\n  ".join(lines))


def read_record(folder: Path) -> Record:
    """The record of what was evaluated in the folder so far.

    Raises:
        UserError: its record is damaged.
    """
    path = folder / RECORD
    try:
        return Record(**json.loads(path.read_text()))
    except FileNotFoundError:
        return Record()
    except (ValueError, TypeError):
        raise UserError(f"{path}: is damaged; remove it, or give another `--out`") from None


def _run(step: PlannedStep) -> None:
    skipped = step.done is not None
    print_done(step.title, run_shown(step), skipped)


def _label(policy: str) -> str:
    """A short name: `demo-round-1` of runs/demo/round-1/policy, a hub model's own name."""
    if hub.is_hub_id(policy):
        return as_file_name(policy.partition("@")[0].rpartition("/")[2], "policy")
    parts = [part.lstrip(".") for part in Path(policy).resolve().parts if part != "/"]
    if parts[-1] == "policy" and len(parts) > 1:
        parts = parts[:-1]
    last = parts[-2:] if parts[-1].startswith("round-") else parts[-1:]
    return as_file_name("-".join(last), "policy")
