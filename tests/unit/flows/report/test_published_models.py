"""Which of a policy's own figures may stand beside the published ones."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from benchmark_answers import respond

from contracts.config.base import check
from contracts.steps.step import run_once, save_step
from contracts.tables.parts import read_part, read_table, write_part
from contracts.tables.schemas import ANSWERS
from evaluation import answers, questions
from evaluation.benchmarks.gsm8k import GSM8K
from evaluation.config import AnswersConfig, QuestionsConfig
from flows.report.published_models import measured

FILES: dict[str, list[dict[str, Any]]] = {
    "mmlu": [{"question": f"{n}?", "choices": ["a", "b"], "correct_answer": "b"} for n in (1, 2)],
    "gsm8k": [{"question": f"{n} + 2?", "answer": f"#### {n + 2}"} for n in (1, 2)],
}


@pytest.fixture
def answered(tmp_path: Path) -> dict[str, Any]:
    """A policy's answers to two questions of each benchmark, and their step."""
    named = []
    for name, rows in FILES.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        named.append({"name": name, "path": str(path), "questions_sha256": "any"})
    asked = {"sources": [one["path"] for one in named]}
    config = check(QuestionsConfig, {"benchmarks": named}, "x")
    run_once(questions.STAGE, config, asked, tmp_path / "questions")
    rows = read_table(tmp_path / "questions").to_pylist()
    texts = {f"{row['benchmark']}/{row['question_id']}/1": '{"answer": "B"}' for row in rows}
    respond(tmp_path, rows, texts)
    read = {name: str(tmp_path / name) for name in ("questions", "responses")}
    config = check(AnswersConfig, {"benchmarks": named}, "x")
    run_once(answers.STAGE, config, read, tmp_path / "answers")
    return json.loads((tmp_path / "answers" / "_step.json").read_text())


@pytest.mark.parametrize(
    ("options", "mmlu", "gsm8k"),
    [
        ({}, [], []),  # from the hub
        ({"questions_sha256": "any"}, ["other questions"], ["other questions"]),
        ({"questions_sha256": "0" * 64}, [], ["other questions"]),  # of mmlu's, none is known
        ({"path": "x"}, ["questions of a file that no hash is known for"], []),
        (
            {"path": "x", "questions_sha256": GSM8K.sha256},  # of mmlu's, it says nothing
            ["questions of a file that no hash is known for"],
            [],
        ),
        ({"limit": 2}, ["the first 2 questions only"], ["the first 2 questions only"]),
    ],
    ids=str,
)
def test_accuracies_compare_where_the_questions_are_the_published_ones(
    tmp_path: Path, answered: dict[str, Any], options: dict, mmlu: list[str], gsm8k: list[str]
) -> None:
    answered["config"]["benchmarks"] = [{"name": name} | options for name in FILES]
    save_step(tmp_path / "answers", answered)
    told = {one.metric: (one.estimate.value, one.not_comparable) for one in measured(tmp_path, "m")}
    assert told == {"mmlu.accuracy": (100.0, mmlu), "gsm8k.accuracy": (0.0, gsm8k)}


def test_accuracies_of_other_decodings_stand_beside_no_published_one(
    tmp_path: Path, answered: dict[str, Any]
) -> None:
    answered["config"]["benchmarks"] = [{"name": name} for name in FILES]
    save_step(tmp_path / "answers", answered)
    (part,) = (tmp_path / "answers").glob("*.parquet")
    rows = [row | {"temperature": 1.0, "max_tokens": 64} for row in read_part(part).to_pylist()]
    part.unlink()
    write_part(tmp_path / "answers", 0, pa.Table.from_pylist(rows, schema=ANSWERS), ANSWERS)
    drawn = "answers by another decoding: temperature 1, top_p 1, max_tokens 64, n 1"
    assert [one.not_comparable for one in measured(tmp_path, "m")] == [[drawn], [drawn]]
