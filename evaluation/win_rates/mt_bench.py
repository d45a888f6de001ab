"""MT-Bench: mean scores of single answers, 1 to 10, by turn and by category.

As FastChat's `show_result.py` (0.2.36, read) has them: the mean over judgements. Its -1, a score
that could not be read, is counted here, and in no mean. Intervals are over questions, whose two
turns are drawn together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.errors import UserError
from evaluation.win_rates.estimate import Estimate, Resampling, ratio
from evaluation.win_rates.figures import Figures, counted, line
from evaluation.win_rates.records import number_of, read_rows, refuse_several

_UNREAD = -1
_NAMES = ["writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"]
CATEGORIES = {81 + number: _NAMES[number // 10] for number in range(80)}
"""Of MT-Bench's 80 questions, ten each in this order (FastChat's `question.jsonl`)."""


@dataclass(frozen=True)
class Judgement:
    """One turn's score; None where the judge's could not be read."""

    question: int
    turn: int
    score: float | None


@dataclass(frozen=True)
class MtBench(Figures):
    """Mean scores, 1 to 10."""

    n: int
    """Judgements with a score."""
    asked: int
    """Turns of the benchmark."""
    overall: Estimate
    turns: Mapping[int, Estimate]
    categories: Mapping[str, Estimate]

    def lines(self, sure: str) -> Iterator[str]:
        """The means: over all, by turn, by category."""
        yield f"{counted(self.n, self.asked)} answers with a score"
        turns = {f"turn {turn}": mean for turn, mean in self.turns.items()}
        for name, mean in {"overall": self.overall, **turns, **self.categories}.items():
            yield line(name, mean, "", sure)


def read_judgements(path: Path) -> list[Judgement]:
    """FastChat's `model_judgment/*_single.jsonl` of one model.

    Raises:
        UserError: a row of another shape, a score outside 1 to 10, a turn there twice, or
            several models, as FastChat's own release of judgements has them.
    """
    by_turn: dict[tuple[int, int], Judgement] = {}
    records = read_rows(path)
    refuse_several(records, "model", path, "scores are of one model")
    for number, record in enumerate(records, start=1):
        place = f"{path}: row {number}"
        question, turn = (int(number_of(record, key, place)) for key in ("question_id", "turn"))
        score = number_of(record, "score", place)
        if score != _UNREAD and not 1 <= score <= 10:
            raise UserError(f"{place}: `score` is {score:g}; it goes from 1 to 10, -1 is none")
        if (question, turn) in by_turn:
            raise UserError(f"{place}: turn {turn} of question {question} was judged before")
        read = None if score == _UNREAD else score
        by_turn[question, turn] = Judgement(question, turn, read)
    return list(by_turn.values())


def mt_bench_scores(
    judgements: Sequence[Judgement], categories: Mapping[int, str], resampling: Resampling
) -> MtBench:
    """Mean scores with intervals.

    Args:
        categories: of each of the benchmark's questions.

    Raises:
        UserError: a question is foreign, or there is no score.
    """
    if foreign := [j.question for j in judgements if j.question not in categories]:
        raise UserError(f"MT-Bench: question {foreign[0]} is none of its {len(categories)}")
    scored = [judgement for judgement in judgements if judgement.score is not None]
    if not scored:
        raise UserError("MT-Bench: not one judgement has a score")
    turns = sorted({judgement.turn for judgement in scored})
    names = dict.fromkeys(categories[judgement.question] for judgement in scored)
    return MtBench(
        len(scored),
        2 * len(categories),
        _mean(scored, resampling),
        {turn: _mean([j for j in scored if j.turn == turn], resampling) for turn in turns},
        {
            name: _mean([j for j in scored if categories[j.question] == name], resampling)
            for name in names
        },
    )


def _mean(judgements: Sequence[Judgement], resampling: Resampling) -> Estimate:
    questions = {
        name: row for row, name in enumerate(dict.fromkeys(j.question for j in judgements))
    }
    rows = [questions[judgement.question] for judgement in judgements]
    scores = [judgement.score or 0.0 for judgement in judgements]
    total = np.bincount(rows, weights=scores)
    return ratio(total, np.bincount(rows).astype(float), resampling)
