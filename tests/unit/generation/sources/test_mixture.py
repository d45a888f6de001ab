"""Mixtures of sources, system messages, near-duplicates and decontamination."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.steps.manifest import Result
from contracts.tables.parts import read_table
from generation.config import PromptsConfig
from generation.prompts import inputs_of, run
from generation.sources.decontaminate import Benchmarks
from generation.sources.mixture import shares
from generation.sources.ngrams import words
from generation.sources.removal_report import REMOVED_NAME

Rows = list[dict[str, Any]]


def write(path: Path, texts: list[Any]) -> str:
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return str(path)


def make(out: Path, **keys: Any) -> tuple[Result, Rows, Rows]:
    """The result, the prompts and the report of what was taken out."""
    out.mkdir()
    config = PromptsConfig(**keys)
    result = run(config, inputs_of(config), out)
    report = out / REMOVED_NAME
    removed = pq.read_table(report).to_pylist() if report.exists() else []
    return result, read_table(out).to_pylist(), removed


def texts(rows: Rows) -> list[str]:
    return [row["messages"][-1]["content"] for row in rows]


@pytest.fixture
def two(tmp_path: Path) -> list[dict[str, Any]]:
    """A source of ten prompts and one of four, which share a prompt."""
    return [
        {"path": write(tmp_path / "a.jsonl", [f"a{i}" for i in range(10)])},
        {"path": write(tmp_path / "b.jsonl", ["a0", "b0", "b1", "b2", "b3"])},
    ]


def test_sources_without_weights_are_taken_whole_up_to_their_limits(
    tmp_path: Path, two: Rows
) -> None:
    result, rows, _ = make(tmp_path / "out", sources=[two[0] | {"limit": 3}, two[1]])
    assert texts(rows) == ["a0", "a1", "a2", "b0", "b1", "b2", "b3"]
    assert [Path(row["source"]).name for row in rows] == ["a.jsonl"] * 3 + ["b.jsonl"] * 4
    assert result.dropped == {"duplicate_prompt": 1}


def test_weighted_sources_keep_their_proportions(tmp_path: Path, two: Rows) -> None:
    weighted = [two[0] | {"weight": 1}, two[1] | {"weight": 1}]
    assert texts(make(tmp_path / "even", sources=weighted)[1]) == [
        *(f"a{i}" for i in range(4)),
        *(f"b{i}" for i in range(4)),
    ]
    weighted[0] = two[0] | {"weight": 3}
    counts = Counter(text[0] for text in texts(make(tmp_path / "3:1", sources=weighted)[1]))
    assert counts == {"a": 10, "b": 3}
    limited = make(tmp_path / "limited", sources=weighted, limit=8)[1]
    assert Counter(text[0] for text in texts(limited)) == {"a": 6, "b": 2}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 500), st.floats(0.01, 10)), min_size=1, max_size=5),
    st.none() | st.integers(1, 1000),
)
def test_shares_are_in_proportion_and_never_more_than_there_is(
    pools: list[tuple[int, float]], limit: int | None
) -> None:
    sizes, weights = [size for size, _ in pools], [weight for _, weight in pools]
    counts = shares(sizes, weights, limit)
    assert all(0 <= count <= size for count, size in zip(counts, sizes, strict=True))
    assert sum(counts) <= (limit or sum(sizes))
    per_weight = min(
        [size / weight for size, weight in pools] + ([limit / sum(weights)] if limit else [])
    )
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - per_weight * weight) <= 1 + 1e-6


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "`path`, or as a list of `sources`"),
        ({"path": "a", "sources": [{"path": "b"}]}, "`path`, or as a list of `sources`"),
        ({"sources": [{"path": "a", "weight": 1}, {"path": "b"}]}, "every source a weight"),
        ({"sources": [{"path": "a"}], "column": "x"}, "column: belongs under each"),
        ({"path": "a", "near_duplicates": 0}, "greater than 0"),
    ],
)
def test_unclear_sources_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PromptsConfig(**keys)


def test_each_file_read_is_an_input_of_the_stage() -> None:
    one = PromptsConfig(path="a.jsonl", decontaminate=["q.jsonl"])
    assert inputs_of(one).by_name == {
        "sources.0": "a.jsonl",
        "decontaminate.0": "q.jsonl",
    }
    mixture = PromptsConfig(sources=[{"path": "o/n", "revision": "r"}, {"path": "b.jsonl"}])
    assert inputs_of(mixture).by_name == {"sources.0": "o/n@r", "sources.1": "b.jsonl"}


def test_a_system_message_is_put_before_prompts_that_have_none(tmp_path: Path) -> None:
    own = [{"role": "system", "content": "own"}, {"role": "user", "content": "b"}]
    path = write(tmp_path / "p.jsonl", ["a", own])
    _, rows, _ = make(tmp_path / "out", path=path, system="be brief")
    assert [[turn["content"] for turn in row["messages"]] for row in rows] == [
        ["be brief", "a"],
        ["own", "b"],
    ]
    _, plain, _ = make(tmp_path / "plain", path=path)
    assert rows[0]["prompt_id"] != plain[0]["prompt_id"]
    assert rows[1]["prompt_id"] == plain[1]["prompt_id"]


LONG = "Write a short story about a lighthouse keeper who finds a letter in a green bottle"


def test_near_duplicates_are_taken_out_and_reported(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.jsonl",
        [LONG, f"{LONG}!", f"{LONG} today", "Name three colours", "Name three animals"],
    )
    result, rows, removed = make(tmp_path / "out", path=path, near_duplicates=0.8)
    assert texts(rows) == [LONG, "Name three colours", "Name three animals"]
    assert result.dropped == {"near_duplicate": 2}
    assert [row["evidence"] for row in removed] == [LONG, LONG]
    assert {row["match"] for row in removed} == {rows[0]["prompt_id"]}
    # LONG has 16 words, so 14 runs of three; one more word makes one more run.
    assert [row["overlap"] for row in removed] == [1.0, pytest.approx(14 / 15)]


def test_prompts_that_share_a_long_system_message_all_stay(tmp_path: Path) -> None:
    system = " ".join(f"rule{number}" for number in range(120))
    path = write(tmp_path / "p.jsonl", [f"Name {i} things in room {i}" for i in range(400)])
    result, _, _ = make(tmp_path / "out", path=path, system=system, near_duplicates=0.8)
    assert result.rows == 400


def test_exact_duplicates_alone_go_where_nothing_else_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [LONG, f"{LONG}!"])
    result, _, _ = make(tmp_path / "out", path=path)
    assert result.rows == 2
    assert not (tmp_path / "out" / REMOVED_NAME).exists()


def test_prompts_without_words_are_like_themselves_alone(tmp_path: Path) -> None:
    told = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "!?"}]
    path = write(tmp_path / "p.jsonl", ["!?", "??", told, "a"])
    _, rows, removed = make(tmp_path / "out", path=path, near_duplicates=0.8)
    assert texts(rows) == ["!?", "??", "a"]
    assert len(removed) == 1


def test_words_are_counted_without_case_or_signs() -> None:
    assert words("What's the *Final* word,\ncafe\u0301_7?") == [
        "what", "s", "the", "final", "word", "caf\u00e9", "7",
    ]  # fmt: skip


QUESTION = "one two three four five six seven eight nine ten eleven twelve"


@pytest.mark.parametrize(
    ("prompt", "share"),
    [
        (QUESTION, 1.0),
        (f"Please answer: {QUESTION.upper()}, thanks", 1.0),
        ("one two three four five six seven eight nine ten and so on", 0.6),
        ("one two three four five six seven eight nine and so on", None),
        ("twelve eleven ten nine eight seven six five four three two one", None),
        ("What is love", 1.0),
        ("what is love?!", 1.0),
        ("Tell me what is love", None),
        ("", None),
    ],
)
def test_a_prompt_is_contaminated_by_half_of_a_questions_runs(
    prompt: str, share: float | None
) -> None:
    benchmarks = Benchmarks(ngram=8, overlap=0.5)
    benchmarks.add("bench.json", QUESTION)  # 12 words: 5 runs of eight
    benchmarks.add("bench.json", "What is love?")
    found = benchmarks.match([prompt])
    assert (found and found[2]) == share


def test_a_single_shared_run_is_enough_at_overlap_zero() -> None:
    benchmarks = Benchmarks(ngram=8, overlap=0)
    benchmarks.add("bench.json", QUESTION)
    shared = "one two three four five six seven eight"
    assert benchmarks.match([f"{shared} and so on"]) == ("bench.json", shared, 0.2)


def test_a_question_in_the_shared_system_message_takes_no_prompt_out(tmp_path: Path) -> None:
    questions = write(tmp_path / "questions.jsonl", [QUESTION, "Name three green fish"])
    path = write(tmp_path / "p.jsonl", ["Name three green fish", "Name three red birds"])
    system = f"An example of what you are asked: {QUESTION}"
    _, rows, removed = make(tmp_path / "out", path=path, system=system, decontaminate=[questions])
    assert texts(rows) == ["Name three red birds"]
    # The report shows what the user asks, not 200 characters that every prompt shares.
    assert [row["excerpt"] for row in removed] == ["Name three green fish"]


def test_real_benchmark_questions_are_found_in_every_turn(
    shared_data: Path, tmp_path: Path
) -> None:
    files = {
        "alpaca_eval": shared_data / "alpaca_eval" / "prompts_805.json",
        "arena_hard": shared_data / "arena_hard" / "question.jsonl",
        "mt_bench": shared_data / "mt_bench" / "question.jsonl",
    }
    alpaca = json.loads(files["alpaca_eval"].read_text())[5]["instruction"]
    arena = json.loads(files["arena_hard"].read_text().splitlines()[7])["turns"][0]["content"]
    bench = json.loads(files["mt_bench"].read_text().splitlines()[3])["turns"]
    asked = [
        {"role": "user", "content": bench[0]},
        {"role": "assistant", "content": "Well."},
        {"role": "user", "content": "Thank you."},
    ]
    prompts = [alpaca, f"Hello. {arena.upper()}", asked, bench[1], "Name three green fish"]
    path = write(tmp_path / "p.jsonl", prompts)
    paths = [str(file) for file in files.values()]
    result, rows, removed = make(tmp_path / "out", path=path, decontaminate=paths)
    assert texts(rows) == ["Name three green fish"]
    assert result.dropped == {"contaminated": 4}
    assert [row["match"] for row in removed] == [
        "alpaca_eval/prompts_805.json",
        "arena_hard/question.jsonl",
        "mt_bench/question.jsonl",
        "mt_bench/question.jsonl",
    ]


def test_few_real_ultrafeedback_prompts_are_contaminated(shared_data: Path, tmp_path: Path) -> None:
    benchmarks = [
        str(shared_data / name)
        for name in ("alpaca_eval/prompts_805.json", "arena_hard/question.jsonl",
                     "mt_bench/question.jsonl")
    ]  # fmt: skip
    source = str(shared_data / "ultrafeedback" / "train_1000.jsonl")
    keys = {"path": source, "column": "prompt", "decontaminate": benchmarks}
    result, rows, removed = make(tmp_path / "out", near_duplicates=0.8, **keys)
    assert len(removed) == sum(
        result.dropped.get(reason, 0) for reason in ("contaminated", "near_duplicate")
    )
    assert len(removed) < 0.05 * len(rows)
    kept = {row["prompt_id"] for row in rows}
    assert not kept & {row["prompt_id"] for row in removed}
