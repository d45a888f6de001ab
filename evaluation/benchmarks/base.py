"""What a benchmark is: where its questions lie, how each is asked, and what its answers are worth.

One module a benchmark; `evaluation.benchmarks` lists them. A benchmark is a config as well: what
its options are, a run's file can say.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from contracts.chat import Message
from contracts.config.base import Config
from contracts.errors import UserError

Preset = Literal["recipe", "sampled"]
DECODING = "decoding.json"
"""How a benchmark's answers were sampled, beside them."""
ANY = "any"
"""As `questions_sha256`: whatever questions the file holds."""


@dataclass(frozen=True)
class Decoding:
    """How an answer is drawn."""

    temperature: float
    """0 is greedy."""
    top_p: float = 1.0
    max_tokens: int = 4096
    n: int = 1
    """Answers to each question."""


@dataclass(frozen=True)
class Question:
    """One question of a benchmark."""

    key: str
    """Its id in the benchmark; unique there."""
    messages: list[Message]
    """What the policy is asked first."""
    follow_ups: Sequence[str] = ()
    """What the user says next, each after the policy's answer to the turn before."""
    category: str = ""
    reference: str | None = None
    """The right answer, where the benchmark is scored by it."""
    decoding: Decoding | None = None
    """Its own, where the benchmark has one for each question."""


@dataclass(frozen=True)
class Hub:
    """A file on the hub, by its commit."""

    dataset: str
    revision: str
    file: str

    @property
    def reference(self) -> str:
        """`owner/name@revision`."""
        return f"{self.dataset}@{self.revision}"


@dataclass(frozen=True)
class Parsed:
    """What an exact-answer benchmark reads in an answer."""

    answer: str | None
    """None where it finds none, which counts as wrong, as in the published scores."""
    correct: bool


class Benchmark(Config):
    """A benchmark and its options. Each kind has a `name` of its own."""

    preset: Preset = "recipe"
    """`recipe` decodes as the published run really did, `sampled` as its config reads."""
    path: str | None = None
    """A local file in place of the one on the hub: .json, .jsonl (also .gz) or .parquet."""
    questions_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64}|any)$")] | None = None
    """Hash that the questions must have; null is the published ones', `any` is no check."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Ask the first so many questions only; such scores compare with no other."""
    temperature: Annotated[float, Field(ge=0)] | None = None
    """In place of the preset's; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """In place of the preset's."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """In place of the preset's."""
    n: Annotated[int, Field(ge=1)] | None = None
    """Answers to each question, in place of the preset's one."""

    hub: ClassVar[Hub | None] = None
    sha256: ClassVar[str | None] = None
    """As `digest` gives it for the published questions; None where it is not known to us."""
    recipe: ClassVar[Decoding] = Decoding(0.0)
    sampled: ClassVar[Decoding] = Decoding(0.5)
    exact: ClassVar[bool] = False
    """Whether `parse` scores its answers."""
    in_file: ClassVar[bool] = True
    """Whether a file of records holds its questions; `collected` gives them else."""

    @model_validator(mode="after")
    def _answers_differ(self) -> "Benchmark":
        drawn = self._preset.temperature if self.temperature is None else self.temperature
        if (self.n or 1) > 1 and not drawn:
            raise ValueError(
                f"n {self.n}: temperature 0 makes every answer the same; set a `temperature`, or "
                "`preset: sampled`"
            )
        return self

    @property
    def label(self) -> str:
        """What tells it from the run's other benchmarks."""
        return str(self.name)  # type: ignore[attr-defined]

    @property
    def source(self) -> str:
        """The questions as a stage's input: a path, or owner/name@revision."""
        if self.path:
            return self.path
        if not self.hub:
            raise UserError(f"benchmark {self.label}: give the file of its questions as `path`")
        return self.hub.reference

    def question(self, origin: str, row: int, record: Mapping[str, Any]) -> Question:
        """A question from its record in the file.

        Raises:
            UserError: the record lacks what it needs.
        """
        raise NotImplementedError

    def decoding(self, question: Question) -> Decoding:
        """How it is answered: the preset, with what the options put in place of it."""
        preset = self.preset_of(question)
        options = {key: getattr(self, key) for key in ("temperature", "top_p", "max_tokens", "n")}
        given = {key: value for key, value in options.items() if value is not None}
        return Decoding(**{**vars(preset), **given})

    def preset_of(self, question: Question) -> Decoding:
        """How the preset decodes an answer to this question."""
        return self._preset

    @property
    def most_tokens(self) -> int:
        """Most tokens in any of its answers."""
        return self.max_tokens or self._preset.max_tokens

    @property
    def _preset(self) -> Decoding:
        return self.recipe if self.preset == "recipe" else self.sampled

    def refuse_unready(self) -> None:
        """Refuse a benchmark whose packages or data are not installed.

        Raises:
            UserError: what it needs beside its questions is not installed.
        """

    def collected(self) -> list[Question]:
        """The questions of a benchmark that has no file of records."""
        raise NotImplementedError

    def metrics(self, answers: Sequence[str]) -> dict[str, float] | None:
        """Metrics of its own, of the answers to all questions in order; None where it has none."""
        return None

    def parse(self, answer: str, reference: str) -> Parsed:
        """Score an answer, where the benchmark is an exact one."""
        raise NotImplementedError

    def files(self, answers: Sequence["Answer"], generator: str) -> dict[str, str]:
        """The answers as the benchmark's own tool reads them: name and text of each file."""
        return {}


@dataclass(frozen=True)
class Answer:
    """A question, turn by turn, with one sample of its answers."""

    question: Question
    source: str
    """Name of the file or dataset that the question is from."""
    turns: list[str]
    """The answer to each turn."""
    sample: int = 0


def ask(text: str) -> list[Message]:
    """A conversation of the user's one message."""
    return [{"role": "user", "content": text}]


def text_of(origin: str, record: Mapping[str, Any], *columns: str) -> str:
    """The first of the columns that holds a text.

    Raises:
        UserError: none does.
    """
    for column in columns:
        if isinstance(value := record.get(column), str) and value.strip():
            return value
    named = " or ".join(map(repr, columns))
    raise UserError(f"{origin}: no text in {named}; it holds {', '.join(record) or 'nothing'}")


def digest(questions: Sequence[Question]) -> str:
    """SHA-256 of what is asked and what is right, whatever file it came in.

    One file is published in several forms (JSON lines, parquet, with an answer beside each
    question), of which each has a hash of its own; its questions have one.
    """
    lines = [
        [[turn["content"] for turn in one.messages], list(one.follow_ups), one.reference]
        for one in questions
    ]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def model_outputs(answers: Sequence[Answer], generator: str) -> dict[str, str]:
    """AlpacaEval's `model_outputs.json`: each question's last turn and the first answer to it."""
    outputs = [
        {
            "dataset": one.question.category or one.source,
            "instruction": one.question.messages[-1]["content"],
            "output": one.turns[-1],
            "generator": generator,
        }
        for one in answers
        if not one.sample
    ]
    return {"model_outputs.json": json.dumps(outputs, ensure_ascii=False, indent=1)}


def stable_id(*parts: object) -> str:
    """An id of 22 characters that is the same whenever the same thing is written."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:22]
