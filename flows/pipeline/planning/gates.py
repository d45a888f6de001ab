"""Gates that ask: who is to answer, what was answered, and how a run says that it waits."""

import getpass
import os
import re
from pathlib import Path
from typing import get_args

from contracts.errors import UserError
from evaluation import gate
from evaluation.gates.answers import (
    Question,
    VerdictSaid,
    read_answer,
    read_question,
    said,
    write_answer,
    write_question,
)
from evaluation.gates.config import Action
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.recorded import recorded
from flows.pipeline.folder.run_folder import settled
from flows.pipeline.planning.lineage import decision_of, lineage
from flows.pipeline.planning.planned_step import PlannedStep

TIME_LIMIT = "time limit"


def asks(step: PlannedStep, config: RunConfig) -> bool:
    """Whether the step is a gate that a person is still to answer."""
    if step.stage is not gate.STAGE or step.done or config.gate_rules is None:
        return False
    verdict = said(step.out.parent)
    answered = read_answer(step.out.parent) is not None
    return verdict is not None and not answered and config.gate_rules.rule(verdict.outcome) == "ask"


def ask(folder: Path, config: RunConfig, flow_run: str | None) -> Question | None:
    """Record what the gate after the round in `folder` asks, and who waits for the answer.

    None where its time has run out, and the answer that then stands is written.
    """
    assert config.gate_rules is not None
    asking, before = config.gate_rules.asking, read_question(folder)
    waits = before.flow_run if before and before.flow_run else flow_run
    question = write_question(folder, asking.hours, asking.then, waits)
    if not question.is_over:
        return question
    write_answer(folder, asking.then, TIME_LIMIT, f"nobody answered until {question.until}")
    return None


def asked_by(config: RunConfig, flow_run: str | None) -> tuple[Path, Question] | None:
    """The round whose gate waits in a Prefect flow run, and what it asks there, where nobody has
    answered elsewhere."""
    undecided = lineage(settled(config)).undecided if flow_run else None
    if undecided is None:
        return None
    folder = config.folder / f"round-{undecided}"
    question = read_question(folder)
    is_open = question and question.flow_run == flow_run and read_answer(folder) is None
    return (folder, question) if question and is_open else None


def waiting(config: RunConfig) -> str | None:
    """What the run says while a person is to answer, and time is left; None of one that goes on."""
    undecided = lineage(config).undecided
    if undecided is None:
        return None
    folder = config.folder / f"round-{undecided}"
    question = read_question(folder)
    is_open = question and not question.is_over and read_answer(folder) is None
    return question_line(folder, question) if question and is_open else None


def question_line(folder: Path, question: Question) -> str:
    """What is asked, and how to answer."""
    return (
        f"{folder}: {_verdict_line(said(folder))} What follows is for you to say: onpolicy decide "
        f"{folder.parent} {folder.name} {'|'.join(get_args(Action))}, then the same command again. "
        f"From {question.until} on it is `{question.then}`"
    )


def stopped_line(config: RunConfig) -> str | None:
    """Why a gate has ended the run; None of one that no gate has."""
    stopped = lineage(config).stopped
    if stopped is None:
        return None
    folder = config.folder / f"round-{stopped}"
    decision = decision_of(folder)
    assert decision is not None
    why = f", {decision.why}" if decision.why else ""
    return (
        f"{config.name}: stopped at the gate after round {stopped} by {decision.by}{why}. "
        f"{_verdict_line(said(folder))} To go on all the same: onpolicy decide {config.folder} "
        f"round-{stopped} promote|last_good, then the same command with --redo "
        f"round-{stopped}/gate"
    )


def decide(run: Path, place: str, action: Action, by: str | None, why: str) -> str:
    """Answer the gate after a round; what to do next.

    Args:
        place: the round: `round-2`, or `2`.
        by: who decides; the user of this machine unless given.

    Raises:
        UserError: there is no such run, gate or verdict.
    """
    config = recorded(run)
    if config is None:
        raise UserError(f"{run}: no run lies here (it has no config.yaml)")
    if config.gate_rules is None:
        raise UserError(f"{run}: this run has no gate; give its config one: `gate: {{}}`")
    number = _number(place)
    folder = run / f"round-{number}"
    if number > config.rounds or number % config.evaluation.every:
        raise UserError(f"{folder}: has no gate; {_gates_of(config)}")
    if said(folder) is None:
        raise UserError(f"{folder}: has no verdict yet to answer to")
    write_answer(folder, action, by or _user(), why)
    if decision := decision_of(folder):
        who = "the gate's rule" if decision.by == "rule" else decision.by
        return (f"{folder}: {who} had decided `{decision.action}`; `onpolicy run ... "
                f"--redo {folder.name}/gate` takes your `{action}` instead")  # fmt: skip
    follows = "ends there" if action == "stop" else "goes on from there"
    return f"{folder}: `{action}` it is; the same `onpolicy run` {follows}"


def _gates_of(config: RunConfig) -> str:
    every = config.evaluation.every
    names = ", ".join(f"round-{number}" for number in range(every, config.rounds + 1, every))
    return f"this run's gates are after {names}"


def _user() -> str:
    """The user's name; the number of one without, as containers have."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _number(place: str) -> int:
    match = re.fullmatch(r"(?:round-)?([1-9]\d{0,2})/?", place)
    if not match:
        raise UserError(f"{place!r}: name a round, e.g. round-2")
    return int(match.group(1))


def _verdict_line(verdict: VerdictSaid | None) -> str:
    if verdict is None:
        return ""
    reasons = [one for one in verdict.reasons if one.effect == verdict.outcome]
    why = "; ".join(f"{one.measure} {one.says}" for one in reasons)
    return f"The verdict is {verdict.outcome}{f' ({why})' if why else ''}."
