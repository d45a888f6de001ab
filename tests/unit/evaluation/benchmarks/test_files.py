"""Answers in the official tools' formats, field for field as in their own files."""

import json
from pathlib import Path
from typing import Any

from contracts.chat import Message
from evaluation.benchmarks import AlpacaEval, ArenaHard, ArenaHardV2, MTBench, PromptFile
from evaluation.benchmarks.base import Answer, Question
from evaluation.win_rates.style import markdown_counts, token_count


def answer(*turns: str, key: str = "81", sample: int = 0) -> Answer:
    asked: list[Message] = [{"role": "user", "content": "Name a fish."}]
    question = Question(key, asked, ("Another.",) * (len(turns) - 1), "koala")
    return Answer(question, "alpaca_eval", list(turns), sample)


def shape(value: Any) -> Any:
    """Keys and types, without what they hold."""
    match value:
        case dict():
            return {key: shape(inside) for key, inside in value.items()}
        case list():
            return [shape(value[0])] if value else []
    return type(value).__name__


def test_alpaca_outputs_are_laid_out_as_a_published_file(shared_data: Path) -> None:
    path = shared_data / "alpaca_eval" / "model_outputs" / "gemma-2-9b-it-SimPO.json"
    (text,) = AlpacaEval().files([answer("A cod.")], "ours").values()
    published, ours = json.loads(path.read_text()), json.loads(text)
    assert {*shape(ours[0])} <= {*shape(published[0])}
    assert ours == [{"dataset": "koala", "instruction": "Name a fish.", "output": "A cod.",
                     "generator": "ours"}]  # fmt: skip


def test_arena_hards_answers_are_laid_out_as_a_published_file(shared_data: Path) -> None:
    published = (shared_data / "arena_hard" / "model_answer_sample.jsonl").read_text()
    files = ArenaHard().files([answer("A cod.")], "ours")
    assert list(files) == ["model_answer/ours.jsonl"]
    line = json.loads(files["model_answer/ours.jsonl"])
    assert shape(line) == shape(json.loads(published.splitlines()[0]))
    assert line["choices"][0]["turns"] == [{"content": "A cod.", "token_len": 3}]


def test_mt_benchs_answers_are_laid_out_as_fastchats(shared_data: Path) -> None:
    published = (shared_data / "mt_bench" / "reference_answer" / "gpt-4.jsonl").read_text()
    (text,) = MTBench().files([answer("A cod.", "A ray.")], "ours").values()
    line = json.loads(text)
    assert shape(line) == shape(json.loads(published.splitlines()[0]))
    assert line["question_id"] == 81
    assert line["choices"] == [{"index": 0, "turns": ["A cod.", "A ray."]}]


def test_several_answers_are_mt_benchs_choices_and_elsewhere_the_first_counts() -> None:
    both = [answer("A cod."), answer("A ray.", sample=1)]
    (text,) = MTBench().files(both, "ours").values()
    assert [one["turns"] for one in json.loads(text)["choices"]] == [["A cod."], ["A ray."]]
    (outputs,) = AlpacaEval().files(both, "ours").values()
    assert [one["output"] for one in json.loads(outputs)] == ["A cod."]


def test_arena_hard_v2_counts_markdown_outside_code() -> None:
    text = "# One\n```\n# no header\n- no item\n```\n- an item\n1. another\n**bold** and __bold__\n"
    counts = markdown_counts(text)
    assert counts["header_count"]["h1"] == 1
    assert counts["list_count"] == {"ordered": 1, "unordered": 1}
    assert counts["bold_count"] == {"**": 1, "__": 1}
    (line,) = ArenaHardV2().files([answer(text)], "ours").values()
    assert json.loads(line)["metadata"] == {"token_len": token_count(text), **counts}


def test_a_prompt_files_answers_are_in_alpaca_evals_format() -> None:
    (text,) = PromptFile(path="mine.jsonl").files([answer("A cod.", "A ray.")], "ours").values()
    assert json.loads(text)[0]["output"] == "A ray."


def test_the_same_answers_are_the_same_file() -> None:
    for benchmark in (AlpacaEval(), ArenaHard(), ArenaHardV2(), MTBench()):
        files = [benchmark.files([answer("A cod.", "A ray.")], "ours") for _ in range(2)]
        assert files[0] == files[1]
