"""A benchmark's questions: read from any published layout, and refused if they are others."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from contracts.config.base import Config, check
from contracts.errors import UserError
from evaluation.benchmarks import (
    GSM8K,
    MMLU,
    AlpacaEval,
    ArenaHard,
    MTBench,
    NamedBenchmark,
    PromptFile,
)
from evaluation.benchmarks.base import Decoding
from evaluation.benchmarks.questions import read_questions

ROWS = {
    "alpaca_eval": [{"instruction": "Name a fish.", "dataset": "koala"}, {"instruction": "Hi."}],
    "mt_bench": [{"question_id": 81, "category": "math", "turns": ["Add 1.", "Add 2."]}],
    "gsm8k": [{"question": "2 + 2?", "answer": "It is <<2+2=4>>4.\n#### 4"}],
    "mmlu": [{"question": "2?", "choices": ["1", "2"], "correct_answer": "2", "config": "maths"}],
}  # fmt: skip


class Named(Config):
    """As a run's config names benchmarks."""

    benchmarks: list[NamedBenchmark]


def write(folder: Path, rows: list[Any]) -> str:
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_benchmarks_are_named_alone_or_with_options() -> None:
    given = ["alpaca_eval", {"name": "gsm8k", "limit": 5}]
    named = check(Named, {"benchmarks": given}, "x.yaml").benchmarks
    assert named == [AlpacaEval(), GSM8K(limit=5)]


@pytest.mark.parametrize("path", ["my prompts.jsonl", ".hidden.json", "../../evil/x.json"])
def test_a_prompt_files_answers_lie_in_a_folder_of_one_plain_name(path: str) -> None:
    label = PromptFile(path=path).label
    assert re.fullmatch(r"[A-Za-z0-9][\w.-]*", label)
    with pytest.raises(ValidationError, match="title"):
        PromptFile(path=path, title="../../evil")


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UserError, match=r"'alpaca_eval', 'arena_hard'.*'mt_bench'.*not 'alpaka'"):
        check(Named, {"benchmarks": ["alpaka"]}, "x.yaml")


def test_several_greedy_answers_are_refused() -> None:
    with pytest.raises(UserError, match="temperature 0 makes every answer the same"):
        check(Named, {"benchmarks": [{"name": "alpaca_eval", "n": 2}]}, "x.yaml")


def test_the_published_questions_pass_by_their_hash(shared_data: Path) -> None:
    alpaca = shared_data / "alpaca_eval"
    files = {
        AlpacaEval(): [
            alpaca / "prompts_805.json",
            alpaca / "model_outputs/gpt4_1106_preview.json",
        ],
        ArenaHard(): [shared_data / "arena_hard" / "question.jsonl"],
        MTBench(): [shared_data / "mt_bench" / "question.jsonl"],
    }
    sizes = {
        benchmark.name: {len(read_questions(benchmark, str(path))) for path in paths}
        for benchmark, paths in files.items()
    }
    assert sizes == {"alpaca_eval": {805}, "arena_hard": {500}, "mt_bench": {80}}


def test_other_questions_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = write(tmp_path, ROWS["alpaca_eval"])
    with pytest.raises(UserError, match=r"its 2 questions are not alpaca_eval's.*`any`") as refused:
        read_questions(AlpacaEval(), path)
    told = str(refused.value).split("hash is ")[1][:64]
    for hash_ in (told, "any"):
        assert len(read_questions(AlpacaEval(questions_sha256=hash_), path)) == 2


def test_what_is_asked_twice_is_refused_for_answers_are_joined_by_it(tmp_path: Path) -> None:
    twice = write(tmp_path, [{"instruction": "Name a fish."}] * 2)
    with pytest.raises(UserError, match=r"asks 'Name a fish\.' twice"):
        read_questions(AlpacaEval(questions_sha256="any"), twice)
    same_id = [{"question_id": 81, "turns": [text]} for text in ("a", "b")]
    with pytest.raises(UserError, match="id '81' stands there twice"):
        read_questions(MTBench(questions_sha256="any"), write(tmp_path, same_id))


@pytest.mark.parametrize(
    ("benchmark", "row", "told"),
    [
        (AlpacaEval(), {"prompt": "Hi."}, r"questions.jsonl:1: no text in 'instruction'"),
        (MTBench(), {"turns": ["Hi.", 3]}, "no list of texts in 'turns'"),
        (ArenaHard(), {"turns": ["Hi."]}, "'turns' is no list of objects with a 'content'"),
        (GSM8K(), {"question": "2 + 2?"}, "no text in 'answer'; it holds question"),
        (MMLU(), {"question": "?", "choices": ["1"], "correct_answer": "2"}, "none of its choices"),
        (PromptFile(path="questions.jsonl"), {"prompt": " "}, "nothing to ask"),
    ],
)
def test_a_half_record_is_told_with_its_line(
    benchmark: Any, row: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        read_questions(benchmark, write(tmp_path, [row]))


def test_a_half_file_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"instruction": "Name a fish."}\n{"instruction": "Na')
    with pytest.raises(UserError, match=r"questions.jsonl:2: not valid JSON"):
        read_questions(AlpacaEval(), str(path))


def test_questions_become_what_the_policy_is_asked(tmp_path: Path) -> None:
    def first(benchmark: Any) -> Any:
        benchmark = benchmark.model_copy(update={"questions_sha256": "any"})
        return read_questions(benchmark, write(tmp_path, ROWS[benchmark.name]))[0]

    assert first(MTBench()).messages == [{"role": "user", "content": "Add 1."}]
    assert first(MTBench()).follow_ups == ("Add 2.",)
    assert "## Question: \n\n2 + 2?\n" in first(GSM8K()).messages[0]["content"]
    assert first(GSM8K()).reference == "4"
    assert "- (A) 1\n- (B) 2\n" in first(MMLU()).messages[0]["content"]
    assert first(MMLU()).reference == "B"


def test_presets_decode_as_the_published_run_did_or_as_its_config_reads(tmp_path: Path) -> None:
    def decodings(benchmark: Any) -> list[Decoding]:
        copy = benchmark.model_copy(update={"questions_sha256": "any"})
        questions = read_questions(copy, write(tmp_path, ROWS[benchmark.name]))
        return [benchmark.decoding(one) for one in questions]

    assert decodings(AlpacaEval())[0] == Decoding(0, 1, 4096)
    assert decodings(AlpacaEval(preset="sampled"))[0] == Decoding(0.5, 1, 4096)
    assert decodings(AlpacaEval(max_tokens=64, n=2, temperature=1))[0] == Decoding(1, 1, 64, 2)
    assert decodings(MTBench()) == [Decoding(0, 1, 1024)]  # math is greedy


def test_mt_benchs_temperature_goes_by_category(shared_data: Path) -> None:
    questions = read_questions(MTBench(), str(shared_data / "mt_bench" / "question.jsonl"))
    temperatures = {one.category: MTBench().decoding(one).temperature for one in questions}
    assert temperatures == {
        "writing": 0.7, "roleplay": 0.7, "extraction": 0, "math": 0, "coding": 0, "reasoning": 0,
        "stem": 0.1, "humanities": 0.1,
    }  # fmt: skip
