"""The benchmarks that can be judged: their rules, and how their files become questions."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from contracts.errors import UserError
from evaluation.judging.alpaca_eval import AlpacaEvalReferee
from evaluation.judging.answer_files import (
    Answers,
    read_answers,
    read_outputs,
    read_question_rows,
    refuse_foreign,
)
from evaluation.judging.arena_hard import ArenaHardReferee
from evaluation.judging.config import BenchmarkName
from evaluation.judging.game import Game, Question, Referee, Sides
from evaluation.judging.mt_bench import WITH_REFERENCE, MTBenchReferee

REFEREES: dict[BenchmarkName, Callable[[], Referee]] = {
    "alpaca_eval": AlpacaEvalReferee,
    "arena_hard": ArenaHardReferee,
    "mt_bench": MTBenchReferee,
}
MIDDLE: dict[BenchmarkName, float | None] = {
    "alpaca_eval": 1.5,
    "arena_hard": 0.5,
    "mt_bench": None,
}
"""The score at which neither side wins."""


def read_sides(
    benchmark: BenchmarkName,
    answers: Path,
    baseline: Path | None = None,
    questions: Path | None = None,
    references: Path | None = None,
) -> Sides:
    """What is to be judged, from the benchmark's own files.

    Raises:
        UserError: a file is missing, is not what it should be, answers something twice, or
            answers what is not asked.
    """
    _refuse_missing(benchmark, baseline, questions, references)
    read = read_outputs if benchmark == "alpaca_eval" else read_answers
    model = read(answers)
    against = read(baseline) if baseline else None
    if benchmark == "alpaca_eval":
        assert against is not None and baseline is not None
        asked = [Question(k, [one.record["instruction"]]) for k, one in against.by_key.items()]
        what = str(baseline)
    else:
        assert questions is not None
        asked = [Question(*row) for row in read_question_rows(questions)]
        what = str(questions)
    keys = {question.key for question in asked}
    refuse_foreign(answers, model, keys, what)
    if against is not None and baseline is not None:
        refuse_foreign(baseline, against, keys, what)
    if benchmark == "mt_bench" and references:
        asked = _with_references(asked, read_answers(references))
    return Sides(asked, model, against)


def with_repeats(games: Sequence[Game], repeats: int) -> list[Game]:
    """The games, and once more those of `repeats` questions, drawn by the questions' hashes."""
    keys = dict.fromkeys(game.question_id for game in games)
    drawn = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).hexdigest())[:repeats]
    again = [replace(one, repeat=1) for one in games if one.question_id in drawn and one.messages]
    return [*games, *again]


def _refuse_missing(
    benchmark: str, baseline: Path | None, questions: Path | None, references: Path | None
) -> None:
    if benchmark != "mt_bench" and baseline is None:
        raise UserError(f"{benchmark}: give the file of the baseline's answers")
    if benchmark != "alpaca_eval" and questions is None:
        raise UserError(f"{benchmark}: give its question.jsonl as the questions")
    if benchmark == "mt_bench" and references is None:
        raise UserError(
            "mt_bench: give the file of the reference answers (reference_answer/*.jsonl) to "
            f"{', '.join(WITH_REFERENCE)}"
        )


def _with_references(questions: Sequence[Question], references: Answers) -> list[Question]:
    return [
        replace(question, reference=found.turns)
        if (found := references.by_key.get(question.key)) and question.category in WITH_REFERENCE
        else question
        for question in questions
    ]
