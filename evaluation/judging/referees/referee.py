"""What a benchmark that can be judged says of itself: its files, its games, its figures.

A new one is a file beside this one, and its line in `REFEREES` (`benchmarks.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from contracts.chat import Message
from evaluation.judging.answer_files import Answers, read_answers
from evaluation.judging.config import LLMJudge
from evaluation.judging.referees.game import Game, Judged, Sides, Verdict
from evaluation.judging.standing import Standing
from evaluation.win_rates.controlled import Controlled, Materials
from evaluation.win_rates.estimate import Resampling
from evaluation.win_rates.figures import Figures, FiguresFiles
from runtime.chat_api.completion import Completion


class Referee(ABC):
    """A benchmark's rules."""

    prompt_sha256: ClassVar[str]
    """Hash of the file of its prompts."""
    has_baseline: ClassVar[bool]
    """Whether answers are compared with another model's."""
    asks_by_baseline: ClassVar[bool] = False
    """Whether the file of the baseline's answers says what is asked, so that no file of questions
    is needed."""
    categories_with_reference: ClassVar[Sequence[str]] = ()
    """The categories of questions that are judged beside a reference answer."""
    scale: ClassVar[tuple[float, float] | None]
    """The scores of a game that the model loses and of one that it wins; None where answers are
    rated alone."""
    points_range: ClassVar[tuple[float, float]] = (0.0, 100.0)
    """The lowest and the highest points of a game, in the figure's unit."""
    most_weight: ClassVar[int] = 1
    """What one game may count."""
    turns_each: ClassVar[int]
    """Turns of each question that are judged."""
    figure: ClassVar[str]
    """What its mean is called."""
    published: ClassVar[Standing]
    """What the published figures of the recipe's paper stand on."""

    @staticmethod
    def read_answers(path: Path) -> Answers:
        """A file of a model's answers, as the benchmark's own tools write it.

        Raises:
            UserError: it is no such file.
        """
        return read_answers(path)

    @staticmethod
    def question_key(question_id: str, text: str) -> str:
        """The name by which judgements know a question."""
        return question_id

    @abstractmethod
    def request(self, judge: LLMJudge) -> dict[str, Any]:
        """The judge's decoding, as the request has it; without model and messages."""

    @abstractmethod
    def games(self, sides: Sides) -> list[Game]:
        """The judgements to be made, in the questions' order."""

    @abstractmethod
    def read(self, game: Game, replies: Sequence[Completion], judge: LLMJudge) -> Verdict:
        """What the replies so far say; an error where they can't be read."""

    @classmethod
    def middle(cls) -> float | None:
        """The score at which neither side wins; None where answers are rated alone."""
        return sum(cls.scale) / 2 if cls.scale else None

    @classmethod
    def points(cls, score: float) -> float:
        """A score in the figure's unit: per cent, or the rating itself."""
        if cls.scale is None:
            return score
        lost, won = cls.scale
        return 100 * (score - lost) / (won - lost)

    def follow_up(self, game: Game, replies: Sequence[Completion]) -> tuple[Message, ...]:
        """What to ask after replies that could not be read; the same again, unless overridden."""
        return game.messages

    @abstractmethod
    def files(self, judged: Sequence[Judged], sides: Sides, judge: LLMJudge) -> dict[str, str]:
        """The judgements as the benchmark's own tools read them: text by relative path."""

    @staticmethod
    @abstractmethod
    def figures(judgements: Path, files: FiguresFiles, resampling: Resampling) -> Figures:
        """The figures of one file of judgements.

        Raises:
            UserError: a file cannot be read, or files do not belong together.
        """

    @staticmethod
    def controlled(materials: Materials, before: Path | None, resampling: Resampling) -> Controlled:
        """The figures that hold length or style still; none unless the benchmark has any.

        Args:
            before: the judge's folder for the round before.
        """
        return Controlled()
