"""A game: one judgement to be made; and its verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from contracts.chat import Message
from evaluation.judging.answer_files import Answer, Answers
from runtime.chat_api.completion import Completion, Refusal

Order = Literal["baseline_first", "model_first", "alone"]
Reason = Literal["missing", "refused", "unanswered", "unparsed", "contradicts"]


@dataclass(frozen=True)
class NoScore:
    """Why a judgement has none."""

    reason: Reason
    says: str

    def __str__(self) -> str:
        """As a table has it."""
        return f"{self.reason}: {self.says}"


@dataclass(frozen=True)
class Game:
    """One judgement: which answers, in which order, by which words."""

    question_id: str
    order: Order
    messages: tuple[Message, ...]
    """What the judge is asked; empty where nothing needs asking."""
    prompt: str
    """Name of the prompt."""
    turn: int = 1
    """Which turn of the conversation is judged."""
    repeat: int = 0
    """1 where the same game is played once more for the judge's own noise."""
    error: NoScore | None = None
    """Why it can't be played: an answer is missing."""
    settled: float | None = None
    """Its score where no judge is needed: both answers are the same."""


@dataclass(frozen=True)
class Verdict:
    """What a judgement says. Exactly one of `score` and `error` is there."""

    score: float | None = None
    """In the benchmark's own scale: AlpacaEval's preference 1 to 2 (2 is the model's answer),
    Arena-Hard's 0 to 1 for the model, MT-Bench's rating."""
    label: str | None = None
    """As the judge said it: `A>>B`, `M`, `8`."""
    weight: int = 1
    """How often it counts: 3 for Arena-Hard's `>>` and `<<`."""
    is_hard: bool = False
    """A label in place of log-probs, where the benchmark counts by log-probs."""
    error: NoScore | None = None
    """Why there is none."""


@dataclass(frozen=True)
class Question:
    """A question of a benchmark."""

    key: str
    turns: list[str]
    category: str = ""
    reference: list[str] | None = None
    """The reference's answer to each turn, where the benchmark gives the judge one."""


@dataclass(frozen=True)
class Sides:
    """What is judged."""

    questions: list[Question]
    model: Answers
    baseline: Answers | None = None
    answered: list[str] | None = None
    """How the model's answers were drawn; None where their file does not say."""

    def of(self, question: Question) -> tuple[Answer | None, Answer | None]:
        """The model's and the baseline's answer, None where there is none."""
        key = question.key
        return self.model.by_key.get(key), (self.baseline.by_key if self.baseline else {}).get(key)


@dataclass(frozen=True)
class Judged:
    """A game with its verdict and what it cost."""

    game: Game
    verdict: Verdict
    replies: Sequence[Completion | Refusal] = ()

    @property
    def text(self) -> str:
        """All that the judge wrote, as arena-hard-auto joins it."""
        return "\n".join(one.text for one in self.replies if isinstance(one, Completion))


def missing(question: Question, sides: Sides, needs_baseline: bool) -> NoScore | None:
    """Why a question can't be judged."""
    model, baseline = sides.of(question)
    if model is None or len(model.turns) < len(question.turns):
        return NoScore("missing", "the model has no answer to this question")
    if needs_baseline and (baseline is None or len(baseline.turns) < len(question.turns)):
        return NoScore("missing", "the baseline has no answer to this question")
    return None


def unread(why: str) -> Verdict:
    """The verdict of a judgement that cannot be read."""
    return Verdict(error=NoScore("unparsed", why))


def judged_questions(judged: Sequence[Judged]) -> int:
    """How many questions have a score for each of their first games."""
    games = [one for one in judged if not one.game.repeat]
    failed = {one.game.question_id for one in games if one.verdict.score is None}
    return len({one.game.question_id for one in games} - failed)
