"""From benchmarks' files to a table of questions, and from responses to answers and scores."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_answers import respond

from contracts.config.base import check
from contracts.errors import UserError
from contracts.steps.manifest import Manifest
from contracts.steps.step import run_once
from contracts.tables.parts import read_table
from evaluation import answers, questions
from evaluation.config import AnswersConfig, EvaluationConfig, QuestionsConfig

FILES = {
    "alpaca_eval": [{"instruction": "Name a fish.", "dataset": "koala"}, {"instruction": "Hi."}],
    "mt_bench": [{"question_id": 81, "category": "math", "turns": ["Add 1.", "Add 2."]}],
    "gsm8k": [{"question": f"{n} + 2?", "answer": f"#### {n + 2}"} for n in range(3)],
    "mmlu": [{"question": f"{n}?", "choices": ["a", "b"], "correct_answer": "b"} for n in range(3)],
}  # fmt: skip


def benchmarks(folder: Path, *names: str) -> list[dict[str, Any]]:
    """The named benchmarks, each with a few questions of its own in a file."""
    for name in names:
        text = "".join(json.dumps(row) + "\n" for row in FILES[name])
        (folder / f"{name}.jsonl").write_text(text)
    return [
        {"name": name, "path": str(folder / f"{name}.jsonl"), "questions_sha256": "any"}
        for name in names
    ]


def ask(folder: Path, *names: str) -> tuple[Manifest, list[dict[str, Any]]]:
    """The questions' stage in `folder / "questions"`."""
    named = benchmarks(folder, *names)
    config = check(QuestionsConfig, {"benchmarks": named}, "x.yaml")
    inputs = {"sources": [one["path"] for one in named]}
    manifest = run_once(questions.STAGE, config, inputs, folder / "questions")
    return manifest, read_table(folder / "questions").to_pylist()


def answer(folder: Path, *names: str) -> tuple[Manifest, list[dict[str, Any]]]:
    """The answers' stage in `folder / "answers"`."""
    named = benchmarks(folder, *names)
    config = check(
        AnswersConfig, {"benchmarks": named, "label": {"generator": "ours"}}, "x.yaml"
    )  # fmt: skip
    inputs = {"questions": str(folder / "questions"), "responses": str(folder / "responses")}
    manifest = run_once(answers.STAGE, config, inputs, folder / "answers")
    return manifest, read_table(folder / "answers").to_pylist()


def test_all_benchmarks_are_one_table_each_turn_with_its_decoding(tmp_path: Path) -> None:
    manifest, rows = ask(tmp_path, "alpaca_eval", "mt_bench", "gsm8k")
    assert [(row["benchmark"], row["turn"]) for row in rows] == [
        ("alpaca_eval", 1), ("alpaca_eval", 1), ("mt_bench", 1), ("mt_bench", 2),
        ("gsm8k", 1), ("gsm8k", 1), ("gsm8k", 1),
    ]  # fmt: skip
    assert rows[3]["follows"] == rows[2]["prompt_id"]
    assert [row["max_tokens"] for row in rows] == [4096, 4096, 1024, 1024, 4096, 4096, 4096]
    assert {row["split"] for row in rows} == {"benchmark"}
    assert manifest.facts["benchmarks"]["mt_bench"]["questions"] == 1
    assert len(manifest.facts["benchmarks"]["gsm8k"]["sha256"]) == 64


def test_the_hash_that_a_run_records_pins_its_questions_whatever_the_limit(tmp_path: Path) -> None:
    (mmlu,) = benchmarks(tmp_path, "mmlu")

    def recorded(out: str, **options: Any) -> dict[str, Any]:
        config = check(QuestionsConfig, {"benchmarks": [mmlu | options]}, "x.yaml")
        manifest = run_once(questions.STAGE, config, {"sources": [mmlu["path"]]}, tmp_path / out)
        return manifest.facts["benchmarks"]["mmlu"]

    few = recorded("few", limit=1)
    assert recorded("all", questions_sha256=few["sha256"])["questions"] > few["questions"] == 1


def test_one_question_in_two_benchmarks_is_two_rows(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "Hi."}\n')
    files = [{"name": "prompt_file", "path": str(path), "title": title} for title in ("a", "b")]
    config = check(QuestionsConfig, {"benchmarks": files}, "x.yaml")
    run_once(questions.STAGE, config, {"sources": [str(path)] * 2}, tmp_path / "out")
    rows = read_table(tmp_path / "out").to_pylist()
    assert len({row["prompt_id"] for row in rows}) == 2


def test_answers_become_official_files_and_exact_scores(tmp_path: Path) -> None:
    names = ("alpaca_eval", "mt_bench", "gsm8k")
    _, asked = ask(tmp_path, *names)
    respond(
        tmp_path,
        asked,
        {
            "alpaca_eval/0/1": "A cod.", "alpaca_eval/1/1": "Hello.",
            "mt_bench/81/1": "2", "mt_bench/81/2": "4",
            "gsm8k/0/1": '{"answer": "2"}', "gsm8k/1/1": '{"answer": "7"}', "gsm8k/2/1": "four",
        },
    )  # fmt: skip
    manifest, rows = answer(tmp_path, *names)
    outputs = json.loads((tmp_path / "answers" / "alpaca_eval" / "model_outputs.json").read_text())
    assert [one["output"] for one in outputs] == ["A cod.", "Hello."]
    line = (tmp_path / "answers" / "mt_bench" / "model_answer" / "ours.jsonl").read_text()
    assert json.loads(line)["choices"] == [{"index": 0, "turns": ["2", "4"]}]
    assert [row["correct"] for row in rows] == [None] * 4 + [True, False, False]
    assert [row["parsed"] for row in rows[4:]] == ["2", "7", None]
    assert manifest.facts["benchmarks"]["gsm8k"] == {
        "turns": 3, "answered": 3, "truncated": 0, "characters": pytest.approx(11.3, abs=0.1),
        "accuracy": pytest.approx(1 / 3), "unparsed": 1, "metrics": None,
    }  # fmt: skip


def test_a_later_turns_conversation_holds_the_answer_before(tmp_path: Path) -> None:
    _, asked = ask(tmp_path, "mt_bench")
    respond(tmp_path, asked, {"mt_bench/81/1": "2", "mt_bench/81/2": "4"})
    _, rows = answer(tmp_path, "mt_bench")
    assert [turn["content"] for turn in rows[1]["messages"]] == ["Add 1.", "2", "Add 2."]


def test_a_missing_answer_is_an_error_and_no_score_and_in_no_official_file(tmp_path: Path) -> None:
    _, asked = ask(tmp_path, "mt_bench", "gsm8k")
    respond(tmp_path, asked, {"mt_bench/81/1": "2", "gsm8k/0/1": '{"answer": "2"}'})
    manifest, rows = answer(tmp_path, "mt_bench", "gsm8k")
    missing = [row for row in rows if row["error"]]
    assert [row["error"] for row in missing] == ["crashed"] * 3
    assert all(row["answer"] is None and row["correct"] is None for row in missing)
    assert (tmp_path / "answers" / "mt_bench" / "model_answer" / "ours.jsonl").read_text() == ""
    assert manifest.dropped == {"unanswered": 3}
    figures = manifest.facts["benchmarks"]["gsm8k"]
    assert (figures["answered"], figures["accuracy"]) == (1, pytest.approx(1 / 3))


def test_the_decoding_lies_beside_the_official_files(tmp_path: Path) -> None:
    _, asked = ask(tmp_path, "alpaca_eval")
    respond(tmp_path, asked, {})
    answer(tmp_path, "alpaca_eval")
    recorded = json.loads((tmp_path / "answers" / "alpaca_eval" / "decoding.json").read_text())
    assert recorded == [
        {"preset": "recipe", "temperature": 0.0, "top_p": 1.0, "max_tokens": 4096, "n": 1,
         "turns": 2}
    ]  # fmt: skip


def test_responses_to_other_questions_are_refused(tmp_path: Path) -> None:
    _, asked = ask(tmp_path, "alpaca_eval")
    respond(tmp_path, [{**asked[0], "prompt_id": "foreign"}], {"alpaca_eval/0/1": "A cod."})
    with pytest.raises(UserError, match="1 of its responses answer none of these questions"):
        answer(tmp_path, "alpaca_eval")


def test_a_response_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    _, asked = ask(tmp_path, "alpaca_eval")
    respond(tmp_path, [asked[0], asked[0]], {"alpaca_eval/0/1": "A cod."})
    with pytest.raises(UserError, match="1 of its responses are there twice"):
        answer(tmp_path, "alpaca_eval")


def test_a_benchmark_named_twice_is_refused() -> None:
    with pytest.raises(UserError, match="gsm8k is there twice"):
        check(EvaluationConfig, {"sampling": {}, "benchmarks": ["gsm8k", "gsm8k"]}, "x.yaml")
