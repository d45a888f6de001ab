"""What a gate asks, and what is answered: two small files in the round's folder.

An answer names the verdict that it was given to: one to another verdict does not count.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from contracts.config.base import Config
from contracts.errors import UserError
from contracts.steps.facts import Facts, read_facts
from contracts.steps.fingerprint import of_input
from contracts.steps.manifest import read_manifest
from contracts.tables.parts import write_atomic
from evaluation.gates.config import Action
from evaluation.verdicts.decide import Outcome
from evaluation.verdicts.findings import Reason

ANSWER = "answer.json"
QUESTION = "question.json"

F = TypeVar("F", bound=Config)


class VerdictSaid(Facts):
    """What of a verdict a gate reads."""

    outcome: Outcome
    reasons: list[Reason]

    @property
    def says(self) -> list[str]:
        """A line for each measure that something is known of."""
        return [
            f"{one.measure}: {one.effect}, {one.says}"
            for one in self.reasons
            if one.effect != "missing"
        ]


class Answer(Config):
    """What follows a round, as a person or the end of a time limit has decided."""

    verdict: str
    """Fingerprint of the verdict that it was given to."""
    action: Action
    by: str
    """Who decided."""
    why: str = ""
    at: str
    """When, ISO 8601 in UTC."""


class Question(Config):
    """What a gate asks."""

    verdict: str
    """Fingerprint of the verdict that it is about."""
    asked: str
    """When, ISO 8601 in UTC."""
    until: str
    """When `then` stands for an answer."""
    then: Action
    flow_run: str | None = None
    """The Prefect flow run that waits for the answer, suspended."""

    @property
    def is_over(self) -> bool:
        """Whether the time for an answer has run out."""
        return now() >= datetime.fromisoformat(self.until)


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def verdict_of(folder: Path) -> Path:
    """The verdict of the round in `folder`."""
    return folder / "evaluation" / "verdict"


def said(folder: Path) -> VerdictSaid | None:
    """The verdict of the round in `folder`; None where it has none yet."""
    return read_facts(verdict_of(folder), VerdictSaid)


def read_answer(folder: Path) -> Answer | None:
    """The answer to the verdict of the round in `folder`; None where there is none to this one.

    Raises:
        UserError: the file is damaged.
    """
    answer = _read(folder / ANSWER, Answer)
    return answer if answer and answer.verdict == _verdict(folder) else None


def read_question(folder: Path) -> Question | None:
    """The question about the verdict of the round in `folder`; None where none is asked.

    Raises:
        UserError: the file is damaged.
    """
    question = _read(folder / QUESTION, Question)
    return question if question and question.verdict == _verdict(folder) else None


def write_answer(folder: Path, action: Action, by: str, why: str) -> Answer:
    """Answer the verdict of the round in `folder`, which is there."""
    at = now().isoformat(timespec="seconds")
    answer = Answer(verdict=of_input(str(verdict_of(folder))), action=action, by=by, why=why, at=at)
    _write(folder / ANSWER, answer)
    return answer


def write_question(folder: Path, hours: float, then: Action, flow_run: str | None) -> Question:
    """Ask about the verdict of the round in `folder`; a question that is there keeps its time."""
    before, asked_at = read_question(folder), now()
    until = (asked_at + timedelta(hours=hours)).isoformat(timespec="seconds")
    question = Question(
        verdict=of_input(str(verdict_of(folder))),
        asked=before.asked if before else asked_at.isoformat(timespec="seconds"),
        until=before.until if before else until,
        then=then,
        flow_run=flow_run,
    )
    _write(folder / QUESTION, question)
    return question


def _verdict(folder: Path) -> str | None:
    manifest = read_manifest(verdict_of(folder))
    return manifest.fingerprint if manifest else None


def _write(path: Path, content: Config) -> None:
    write_atomic(path, content.model_dump_json(indent=1).encode())


def _read(path: Path, model: type[F]) -> F | None:
    try:
        return model.model_validate_json(path.read_text())
    except FileNotFoundError:
        return None
    except (ValidationError, UnicodeDecodeError, IsADirectoryError):
        raise UserError(f"{path}: is damaged; delete it, and answer again") from None
