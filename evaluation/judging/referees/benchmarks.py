"""The benchmarks that can be judged: their rules, and how their files become questions."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from contracts.errors import UserError
from contracts.tables.parts import read_table
from evaluation.benchmarks.base import DECODING
from evaluation.judging.answer_files import Answers, read_question_rows, refuse_foreign
from evaluation.judging.config import BenchmarkName
from evaluation.judging.referees.alpaca_eval import AlpacaEvalReferee
from evaluation.judging.referees.arena_hard import ArenaHardReferee
from evaluation.judging.referees.game import Game, Question, Sides
from evaluation.judging.referees.mt_bench import MTBenchReferee
from evaluation.judging.referees.referee import Referee

REFEREES: Mapping[str, type[Referee]] = {
    "alpaca_eval": AlpacaEvalReferee,
    "arena_hard": ArenaHardReferee,
    "mt_bench": MTBenchReferee,
}
"""Each benchmark that can be judged; `judging.config.BenchmarkName` names the same."""


@dataclass(frozen=True)
class SideFiles:
    """What is judged, and by what."""

    answers: Path
    """A file, or the folder of a run's ANSWERS."""
    baseline: Path | None = None
    questions: Path | None = None
    """`question.jsonl`."""
    references: Path | None = None
    asked: Path | None = None
    """QUESTIONS, in place of `questions` and of those that the baseline answers."""


def read_sides(benchmark: BenchmarkName, files: SideFiles) -> Sides:
    """What is to be judged, from the benchmark's own files.

    Raises:
        UserError: a file is missing, is not what it should be, answers something twice, or
            answers what is not asked.
    """
    _refuse_missing(benchmark, files)
    referee = REFEREES[benchmark]
    path = _official_file(files.answers, benchmark)
    model = referee.read_answers(path)
    against = referee.read_answers(files.baseline) if files.baseline else None
    questions, what = _questions(benchmark, files, against)
    keys = {question.key for question in questions}
    refuse_foreign(path, model, keys, what)
    if against is not None and files.baseline is not None:
        if files.asked:
            refuse_unanswered(files.baseline, against, questions)
        else:
            refuse_foreign(files.baseline, against, keys, what)
    if referee.categories_with_reference and files.references:
        references = referee.read_answers(files.references)
        questions = _with_references(questions, references, referee.categories_with_reference)
    return Sides(questions, model, against, _answered(files.answers / benchmark / DECODING))


def refuse_unanswered(path: Path, baseline: Answers, questions: Sequence[Question]) -> None:
    """Refuse a baseline that has not answered every question.

    Raises:
        UserError: the baseline lacks an answer to one of the questions.
    """
    lacking = [one for one in questions if one.key not in baseline.by_key]
    if lacking:
        raise UserError(
            f"{path}: has no answer to {len(lacking):,} of the {len(questions):,} questions, the "
            f"first: {lacking[0].turns[0]!r:.100}; give a baseline's answers to these very ones"
        )


def asked_questions(benchmark: str, folder: Path) -> list[Question]:
    """A benchmark's questions in QUESTIONS, in order.

    Raises:
        UserError: one has fewer turns than are judged.
    """
    by_id: dict[str, Question] = {}
    referee = REFEREES[benchmark]
    columns = ["benchmark", "question_id", "messages", "category"]
    for row in read_table(folder, columns).to_pylist():
        if row["benchmark"] != benchmark:
            continue
        text = row["messages"][-1]["content"]
        name = row["question_id"]
        if name in by_id:
            by_id[name].turns.append(text)
        else:
            by_id[name] = Question(referee.question_key(name, text), [text], row["category"])
    for one in by_id.values():
        if len(one.turns) < referee.turns_each:
            raise UserError(
                f"{folder}: question {one.key} of {benchmark} has {len(one.turns)} turns; "
                f"{referee.turns_each} are judged"
            )
    return list(by_id.values())


def with_repeats(games: Sequence[Game], repeats: int) -> list[Game]:
    """The games, and once more those of `repeats` questions, drawn by the questions' hashes."""
    keys = dict.fromkeys(game.question_id for game in games)
    drawn = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).hexdigest())[:repeats]
    again = [replace(one, repeat=1) for one in games if one.question_id in drawn and one.messages]
    return [*games, *again]


def _official_file(answers: Path, benchmark: str) -> Path:
    """The benchmark's file below a run's ANSWERS; of a file, itself.

    Raises:
        UserError: there is none below the folder.
    """
    if not answers.is_dir():
        return answers
    below = answers / benchmark
    files = [*below.glob("model_outputs.json"), *below.glob("model_answer/*.jsonl")]
    if not files:
        raise UserError(f"{answers}: holds no answers to {benchmark}")
    return files[0]


def _answered(path: Path) -> list[str] | None:
    """The decodings of a run's answers; None where the answers are a file."""
    if not path.is_file():
        return None
    names = ("temperature", "top_p", "max_tokens")
    rows = json.loads(path.read_text())
    return sorted({", ".join(f"{name} {row[name]:g}" for name in names) for row in rows})


def _questions(
    benchmark: str, files: SideFiles, against: Answers | None
) -> tuple[list[Question], str]:
    """What is asked, and where that stands."""
    if files.asked:
        return asked_questions(benchmark, files.asked), str(files.asked)
    if files.questions:
        rows = read_question_rows(files.questions, REFEREES[benchmark].turns_each)
        return [Question(*row) for row in rows], str(files.questions)
    assert against is not None
    questions = [Question(key, [one.record["instruction"]]) for key, one in against.by_key.items()]
    return questions, str(files.baseline)


def _refuse_missing(benchmark: str, files: SideFiles) -> None:
    referee = REFEREES[benchmark]
    if referee.has_baseline and files.baseline is None:
        raise UserError(f"{benchmark}: give the file of the baseline's answers")
    if not (referee.asks_by_baseline or files.questions or files.asked):
        raise UserError(f"{benchmark}: give its question.jsonl as the questions")
    if referee.categories_with_reference and files.references is None:
        raise UserError(
            f"{benchmark}: give the file of the reference answers (reference_answer/*.jsonl) to "
            f"{', '.join(referee.categories_with_reference)}"
        )


def _with_references(
    questions: Sequence[Question], references: Answers, categories: Sequence[str]
) -> list[Question]:
    return [
        replace(question, reference=answer.turns)
        if (answer := references.by_key.get(question.key)) and question.category in categories
        else question
        for question in questions
    ]
