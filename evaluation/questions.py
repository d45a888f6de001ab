"""Stage: the questions of all benchmarks as one table, each turn a row with its decoding.

The sampling stage answers them in one start of its engine.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from contracts.steps.facts import Facts
from contracts.steps.inputs import Data, Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import write_part
from contracts.tables.schemas import QUESTIONS
from evaluation.benchmarks.base import Benchmark, Question, ask, digest
from evaluation.benchmarks.questions import all_questions, asked, source_name
from evaluation.config import QuestionsConfig
from generation.sources.conversation import prompt_id
from runtime.stage_process import main


class QuestionsInputs(Inputs):
    """Where the questions lie."""

    sources: list[Data]
    """One for each benchmark, in the config's order."""


class BenchmarkQuestions(BaseModel):
    """What one benchmark asks."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    questions: int
    sha256: str
    """Of all that its file holds, also beyond a `limit`: what `questions_sha256` pins."""


class QuestionsFacts(Facts):
    """What is asked, by benchmark."""

    benchmarks: dict[str, BenchmarkQuestions]


def run(config: QuestionsConfig, inputs: QuestionsInputs, out: Path) -> Result:
    """Write QUESTIONS, benchmark by benchmark.

    Raises:
        UserError: a file cannot be had or read, asks something twice, or holds other questions.
    """
    facts: dict[str, BenchmarkQuestions] = {}
    rows: list[dict[str, Any]] = []
    for benchmark, source in zip(config.benchmarks, inputs.sources, strict=True):
        known = all_questions(benchmark, source)
        questions = asked(benchmark, known)
        rows += [row for question in questions for row in turns(benchmark, question)]
        about = BenchmarkQuestions(questions=len(questions), sha256=digest(known))
        facts[benchmark.label] = about
    write_part(out, 0, pa.Table.from_pylist(rows, schema=QUESTIONS), QUESTIONS)
    return Result(len(rows), facts=QuestionsFacts(benchmarks=facts))


def turns(benchmark: Benchmark, question: Question) -> Iterator[dict[str, Any]]:
    """A row for each turn, which follows the one before it."""
    decoding = vars(benchmark.decoding(question))
    follows = None
    said = [question.messages, *map(ask, question.follow_ups)]
    for turn, messages in enumerate(said, start=1):
        # The question's own id too: two benchmarks may ask the same.
        name = f"{benchmark.label}-{question.key}-{turn}"
        identifier = prompt_id([{"role": "benchmark", "content": name}, *messages])
        yield {
            "prompt_id": identifier,
            "messages": messages,
            "source": source_name(benchmark),
            "split": "benchmark",
            "benchmark": benchmark.label,
            "question_id": question.key,
            "turn": turn,
            "follows": follows,
            "category": question.category,
            "reference": question.reference,
            "preset": benchmark.preset,
            **decoding,
        }
        follows = identifier


STAGE = Stage(
    name="evaluation.questions",
    version=1,
    config=QuestionsConfig,
    inputs=QuestionsInputs,
    output=QUESTIONS,
    run=run,
    facts=QuestionsFacts,
)

if __name__ == "__main__":
    main(STAGE)
