"""A benchmark's questions, read and checked before a policy is asked any."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from contracts.errors import UserError
from contracts.models.hub import dataset_file, is_hub_id
from evaluation.benchmarks.base import ANY, Benchmark, Question, digest
from generation.sources.columns import read_records


def read_questions(benchmark: Benchmark, source: str) -> list[Question]:
    """The questions of a benchmark that are asked: those within its `limit`.

    Args:
        source: as `benchmark.source`; its revision may be another.

    Raises:
        UserError: as `all_questions`.
    """
    return asked(benchmark, all_questions(benchmark, source))


def asked(benchmark: Benchmark, questions: list[Question]) -> list[Question]:
    """Those within the benchmark's `limit`; lm-eval counts it by subtask, and has applied it."""
    return questions[: benchmark.limit] if benchmark.in_file else questions


def all_questions(benchmark: Benchmark, source: str) -> list[Question]:
    """All questions in a benchmark's file; of an lm-eval task, those that are asked.

    Args:
        source: as `benchmark.source`; its revision may be another.

    Raises:
        UserError: the file cannot be had or read, asks something twice, or holds other
            questions than the published ones.
    """
    if not benchmark.in_file:
        collected = benchmark.collected()
        _refuse_other(benchmark.label, benchmark, collected)
        return collected
    path = Path(source)
    if is_hub_id(source) and benchmark.hub:
        path = dataset_file(source, benchmark.hub.file)
    records = enumerate(read_records(path))
    questions = [benchmark.question(origin, row, record) for row, (origin, record) in records]
    if not questions:
        raise UserError(f"{path}: holds no question")
    _refuse_twice(path, questions)
    _refuse_other(str(path), benchmark, questions)
    return questions


def source_name(benchmark: Benchmark) -> str:
    """The dataset's or file's name."""
    return Path(benchmark.path).name if benchmark.path else benchmark.label


def _refuse_twice(path: Path, questions: Sequence[Question]) -> None:
    """Answers are joined by what was asked, so nothing may be asked twice."""
    keys = Counter(one.key for one in questions)
    texts = Counter(repr((one.messages, one.follow_ups)) for one in questions)
    for one in questions:
        if keys[one.key] > 1:
            raise UserError(f"{path}: question id {one.key!r} stands there twice; leave one out")
        if texts[repr((one.messages, one.follow_ups))] > 1:
            text = one.messages[-1]["content"]
            raise UserError(f"{path}: asks {text!r:.80} twice; leave one out")


def _refuse_other(place: str, benchmark: Benchmark, questions: Sequence[Question]) -> None:
    expected = benchmark.questions_sha256 or benchmark.sha256
    if expected in (None, ANY) or digest(questions) == expected:
        return
    raise UserError(
        f"{place}: its {len(questions):,} questions are not {benchmark.label}'s: their hash is "
        f"{digest(questions)}, not {expected}. Take the published file (leave `path` out), or set "
        "`questions_sha256` to that hash, or to `any`, to ask these; their scores then compare "
        "with no published one"
    )


def look(benchmark: Benchmark) -> None:
    """Read what can be read in no time: a local file, whether lm-eval is there.

    Raises:
        UserError: as `read_questions`.
    """
    benchmark.refuse_unready()
    if benchmark.in_file and not is_hub_id(benchmark.source):
        read_questions(benchmark, benchmark.source)
