"""Stage: a policy's answers to the benchmarks, as a table and as the official tools read them.

Exact-answer benchmarks are scored here too: a question whose answer holds nothing to compare is
wrong, as in the published scores; so is one without an answer, which has an error.
Beside the table lies a folder for each benchmark with the files of its own tool.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from contracts.chat import Message
from contracts.errors import UserError
from contracts.steps.facts import Facts
from contracts.steps.inputs import Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import read_part, read_table, write_atomic, write_part
from contracts.tables.schemas import ANSWERS, QUESTIONS, RESPONSES
from evaluation.benchmarks.base import DECODING, Answer, Benchmark, Question
from evaluation.config import AnswersConfig
from generation.sampling.tables import ERRORS_NAME
from runtime.stage_process import main

Row = dict[str, Any]
_NOT_ASKED = "was not asked: `dropped` in the manifest of the responses says why"
_COLUMNS = ["prompt_id", "response_id", "sample", "text", "n_tokens", "finish_reason"]
_SHARED = ("benchmark", "question_id", "turn", "prompt_id", "category", "reference", "preset", "n",
           "temperature", "top_p", "max_tokens")  # fmt: skip


class AnswersInputs(Inputs):
    """The questions, and a policy's responses to them."""

    questions: Annotated[Path, QUESTIONS]
    responses: Annotated[Path, RESPONSES]


class BenchmarkAnswers(BaseModel):
    """What one benchmark was answered."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    turns: int
    """Answers asked for."""
    answered: int
    truncated: int
    """Answers that `max_tokens` cut."""
    characters: float | None
    """Mean length of an answer."""
    accuracy: float | None
    """Share of all that was asked that is right, where there is a right answer."""
    unparsed: int | None
    """Answers in which nothing could be read: they count as wrong."""
    metrics: dict[str, float] | None = None
    """An lm-eval task's own; none where an answer is missing."""


class AnswersFacts(Facts):
    """What was answered, by benchmark."""

    benchmarks: dict[str, BenchmarkAnswers]


@dataclass(frozen=True)
class Responses:
    """A policy's responses, and why some are missing, by response id."""

    rows: Mapping[str, Row]
    errors: Mapping[str, str]

    def error_of(self, response_id: str) -> str:
        """Why there is none."""
        return self.errors.get(response_id, _NOT_ASKED)


def run(config: AnswersConfig, inputs: AnswersInputs, out: Path) -> Result:
    """Write ANSWERS and the official files; turns without an answer are counted.

    Raises:
        UserError: a response answers none of the questions.
    """
    questions = read_table(inputs.questions).to_pylist()
    responses = read_responses(inputs.responses, questions)
    benchmarks = {benchmark.label: benchmark for benchmark in config.benchmarks}
    rows = answer_rows(questions, responses, benchmarks)
    write_part(out, 0, pa.Table.from_pylist(rows, schema=ANSWERS), ANSWERS)
    sources = {row["benchmark"]: row["source"] for row in questions}
    for label, benchmark in benchmarks.items():
        complete = whole_answers([row for row in rows if row["benchmark"] == label], sources[label])
        for name, text in benchmark.files(complete, config.label.generator).items():
            path = out / label / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text.encode())
        decoding = json.dumps(decodings(rows, label), indent=1).encode()
        (out / label).mkdir(exist_ok=True)
        write_atomic(out / label / DECODING, decoding)
    unanswered = sum(row["error"] is not None for row in rows)
    facts = AnswersFacts(
        benchmarks={label: summary(rows, label, one) for label, one in benchmarks.items()}
    )
    return Result(len(rows), {"unanswered": unanswered}, facts)


def read_responses(folder: Path, questions: Sequence[Row]) -> Responses:
    """The responses to the questions.

    Raises:
        UserError: one answers another prompt, or a response is there twice.
    """
    rows = read_table(folder, _COLUMNS).to_pylist()
    prompt_ids = {row["prompt_id"] for row in questions}
    foreign = [row["response_id"] for row in rows if row["prompt_id"] not in prompt_ids]
    twice = [
        name for name, count in Counter(row["response_id"] for row in rows).items() if count > 1
    ]
    for fault, names in (("answer none of these questions", foreign), ("are there twice", twice)):
        if names:
            raise UserError(
                f"{folder}: {len(names)} of its responses {fault}, the first is {names[0]}; give "
                "the responses that were sampled of these very questions"
            )
    path = folder / ERRORS_NAME
    errors = read_part(path, ["response_id", "error"]).to_pylist() if path.exists() else []
    return Responses(
        {row["response_id"]: row for row in rows},
        {row["response_id"]: row["error"] for row in errors},
    )


def answer_rows(
    questions: Sequence[Row], responses: Responses, benchmarks: Mapping[str, Benchmark]
) -> list[Row]:
    """ANSWERS: a row for each turn and sample, in the questions' order."""
    rows: list[Row] = []
    by_prompt = {row["prompt_id"]: row for row in questions}
    for question in questions:
        for sample in range(question["n"]):
            response_id = f"{question['prompt_id']}-{sample}"
            response = responses.rows.get(response_id)
            row = {name: question[name] for name in _SHARED} | {
                "sample": sample,
                "response_id": response_id,
                "messages": _conversation(question, sample, by_prompt, responses),
                "answer": response["text"] if response else None,
                "n_tokens": response["n_tokens"] if response else None,
                "finish_reason": response["finish_reason"] if response else None,
                "error": None if response else responses.error_of(response_id),
            }
            rows.append(row | _score(row, benchmarks[question["benchmark"]]))
    return rows


def _conversation(
    question: Row, sample: int, asked: Mapping[str, Row], responses: Responses
) -> list[Message]:
    """What was asked, with the answers to the turns before; without those that are missing."""
    if not question["follows"]:
        return list(question["messages"])
    before = _conversation(asked[question["follows"]], sample, asked, responses)
    answer = responses.rows.get(f"{question['follows']}-{sample}")
    said: list[Message] = [{"role": "assistant", "content": answer["text"]}] if answer else []
    return [*before, *said, *question["messages"]]


def _score(row: Row, benchmark: Benchmark) -> Row:
    if not benchmark.exact or row["answer"] is None:
        return {"parsed": None, "correct": None}
    parsed = benchmark.parse(row["answer"], row["reference"])
    return {"parsed": parsed.answer, "correct": parsed.correct}


def whole_answers(rows: Sequence[Row], source: str) -> list[Answer]:
    """The questions of one benchmark whose every turn has an answer, for its official files."""
    turns: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        turns.setdefault((row["question_id"], row["sample"]), []).append(row)
    return [
        Answer(
            question=Question(key, answers[0]["messages"], category=answers[0]["category"]),
            source=source,
            turns=[row["answer"] for row in answers],
            sample=sample,
        )
        for (key, sample), answers in turns.items()
        if all(row["answer"] is not None for row in answers)
    ]


def decodings(rows: Sequence[Row], label: str) -> list[dict[str, Any]]:
    """The decodings of a benchmark's answers, each with how many turns it drew."""
    names = ("preset", "temperature", "top_p", "max_tokens", "n")
    per_question = [tuple(row[name] for name in names) for row in rows if row["benchmark"] == label]
    return [
        dict(zip(names, values, strict=True)) | {"turns": count}
        for values, count in sorted(Counter(per_question).items())
    ]


def summary(rows: Sequence[Row], label: str, benchmark: Benchmark) -> BenchmarkAnswers:
    """Figures of one benchmark."""
    answered_rows = [row for row in rows if row["benchmark"] == label]
    answered = [row for row in answered_rows if row["answer"] is not None]
    characters = sum(len(row["answer"]) for row in answered)
    is_exact = benchmark.exact and bool(answered_rows)
    metrics = None
    if len(answered) == len(answered_rows):
        metrics = benchmark.metrics([row["answer"] for row in answered_rows])
    return BenchmarkAnswers(
        turns=len(answered_rows),
        answered=len(answered),
        truncated=sum(row["finish_reason"] == "length" for row in answered),
        characters=characters / len(answered) if answered else None,
        accuracy=sum(bool(row["correct"]) for row in answered_rows) / len(answered_rows)
        if is_exact
        else None,
        unparsed=sum(row["parsed"] is None for row in answered) if is_exact else None,
        metrics=metrics,
    )


STAGE = Stage(
    name="evaluation.answers",
    version=3,
    config=AnswersConfig,
    inputs=AnswersInputs,
    output=ANSWERS,
    run=run,
    facts=AnswersFacts,
)

if __name__ == "__main__":
    main(STAGE)
