"""Reading, deduplicating and holding out prompts."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.checks import faults
from contracts.errors import UserError
from contracts.steps.manifest import Result
from contracts.tables.parts import read_table
from generation.config import PromptsConfig, PromptSource
from generation.prompts import PromptsFacts, PromptsInputs, run
from generation.readiness import prompt_checks
from generation.sources.columns import read_column
from generation.sources.conversation import prompt_id

LINES = '{"prompt": "a"}\n{"prompt": "b"}\n'

Make = Callable[..., tuple[Result, list[dict[str, Any]]]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Runs the stage on records written as JSON lines; the result and the rows made."""

    def run_on(records: list[Any], **keys: Any) -> Any:
        source = write_jsonl(tmp_path / "prompts.jsonl", records)
        inputs = PromptsInputs(sources=[str(source)])
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        result = run(PromptsConfig(path=str(source), **keys), inputs, out)
        return result, read_table(out).to_pylist()

    return run_on


def write_jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read(source: Path) -> PromptsInputs:
    return PromptsInputs(sources=[str(source)])


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_prompts_keep_their_order_and_lose_their_duplicates(make: Make) -> None:
    result, rows = make([{"prompt": text} for text in ("b", "a", "b", " a\n", "", "  ", None)])
    assert [row["messages"] for row in rows] == [user("b"), user("a")]
    assert result.dropped == {"duplicate_prompt": 2, "empty_prompt": 3}
    assert result.facts == PromptsFacts(train=2)


def test_one_text_in_two_unicode_spellings_is_one_prompt(make: Make) -> None:
    result, rows = make([{"prompt": "cafe\u0301"}, {"prompt": "caf\u00e9"}])
    assert [row["messages"] for row in rows] == [user("cafe\u0301")]
    assert result.dropped == {"duplicate_prompt": 1}


def test_half_a_surrogate_pair_is_dropped_and_counted(make: Make) -> None:
    result, rows = make([{"prompt": "odd \ud83d"}, {"prompt": "fine \U0001f600"}])
    assert len(rows) == 1
    assert result.dropped == {"invalid_unicode": 1}


def test_answers_at_the_end_of_a_conversation_are_cut_off(make: Make) -> None:
    talk = [*user("hi"), {"role": "assistant", "content": "hello"}]
    more = [{"role": "system", "content": "be brief"}, *talk, *user("and?")]
    _, rows = make([{"chat": talk}, {"chat": more}], column="chat")
    assert [row["messages"] for row in rows] == [user("hi"), more]


def test_conversations_that_cannot_be_answered_are_counted_by_what_is_wrong(make: Make) -> None:
    brief = {"role": "system", "content": "be brief"}
    talks = [user("hi"), user(" "), [{"role": "human", "content": "hi"}], [*user("hi"), brief],
             [*user("sum"), {"role": "tool", "content": "4"}], [brief, *user("hi")]]  # fmt: skip
    result, rows = make([{"chat": talk} for talk in talks], column="chat")
    assert [row["messages"] for row in rows] == [talks[0], talks[-1]]
    assert result.dropped == {"empty_prompt": 1, "unknown_role": 1, "no_question": 2}


def test_held_out_prompts_stay_held_out_when_prompts_are_added(make: Make) -> None:
    few = [{"prompt": f"prompt {i}"} for i in range(50)]
    many = few + [{"prompt": f"new prompt {i}"} for i in range(5)]
    before = {row["prompt_id"] for row in make(few, test_size=10)[1] if row["split"] == "test"}
    after = {row["prompt_id"] for row in make(many, test_size=10)[1] if row["split"] == "test"}
    assert len(before) == len(after) == 10
    assert len(before & after) >= 5


def test_limit_takes_the_first_different_prompts(make: Make) -> None:
    _, rows = make([{"prompt": text} for text in "aabbccdd"], limit=3)
    assert [row["messages"] for row in rows] == [user("a"), user("b"), user("c")]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_question_is_never_held_out_under_one_instruction_and_trained_under_another(
    make: Make, role: str
) -> None:
    told = [{"role": role, "content": "Be brief."}]
    both = [prompt for i in range(20) for prompt in (user(f"q{i}"), told + user(f"q{i}"))]
    _, rows = make([{"prompt": prompt} for prompt in both], test_size=10)
    splits = {
        split: {row["messages"][-1]["content"] for row in rows if row["split"] == split}
        for split in ("train", "test")
    }
    assert len(splits["test"]) == 5 and len(splits["train"]) == 15


def test_a_malformed_line_is_named_by_file_and_number(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a"}\n\n{"prompt": \n')
    with pytest.raises(UserError, match=r"prompts\.jsonl:3: not valid JSON: .* \(column 11\)"):
        run(PromptsConfig(path=str(path)), PromptsInputs(sources=[str(path)]), tmp_path)


def test_every_line_that_is_no_prompt_is_told_before_a_run(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    bad = ['{"prompt": ', '{"text": "a"}', '{"prompt": 7}', '{"prompt": "b"}', "7"]
    path.write_text("\n".join(['{"prompt": "a"}', *bad]))
    (told,) = faults(prompt_checks(PromptsConfig(path=str(path))))
    assert [line.strip().split(": ")[0] for line in told.splitlines()] == ["prompts.path"] + [
        f"{path}:{number}" for number in (3, 4, 6)
    ]
    path.write_text("\n".join(['{"prompt": "a"}', *["7"] * 30]))
    (told,) = faults(prompt_checks(PromptsConfig(path=str(path))))
    assert len(told.splitlines()) == 11 and told.endswith("and 20 more lines")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.jsonl", '[{"prompt": "a"}]\n', r"p\.jsonl:1: begins a list, .* is a \.json file"),
        ("p.jsonl", '\n[\n  {"prompt": "a"}\n]\n', r"p\.jsonl:2: begins a list"),
        ("p.jsonl", '{"prompt": ' + "[" * 10**5, r"p\.jsonl:1: brackets nested too deep"),
        ("p.json", '[\n {"prompt": }\n]', r"p\.json: not valid JSON: .* \(line 2\)$"),
        ("p.json", '{\n"prompt": "a"}', r"p\.json: holds no list of records"),
        (
            "p.json",
            '{"prompt": "a"}\n{"prompt": "b"}\n',
            r"one record a line; rename it to p\.jsonl",
        ),
    ],
)
def test_json_of_another_shape_is_told_with_its_place(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        list(read_column(str(tmp_path / name), ["prompt"]))


@pytest.mark.parametrize("name", ["p.jsonl.gz", "p.jsonl", "p.json.gz"])
def test_gzip_is_read_whatever_its_name_says(tmp_path: Path, name: str) -> None:
    text = '[{"prompt": "a"}, {"prompt": "b"}]' if "json." in name else LINES
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()))
    assert [value for _, value in read_column(str(path), ["prompt"])] == ["a", "b"]


def test_gzip_that_is_cut_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(LINES.encode())[:-9])
    with pytest.raises(UserError, match=r"p\.jsonl\.gz: its gzip is cut or damaged"):
        list(read_column(str(path), ["prompt"]))


def test_a_missing_column_is_answered_with_those_there_are(make: Make) -> None:
    with pytest.raises(UserError, match=r"no column 'question'; it holds 'prompt', 'id'"):
        make([{"prompt": "a", "id": 1}], column="question")


def test_a_file_without_prompts_is_refused(make: Make) -> None:
    with pytest.raises(UserError, match="0 usable prompts"):
        make([])


def test_holding_out_every_prompt_is_refused(make: Make) -> None:
    with pytest.raises(UserError, match="none is left to train on"):
        make([{"prompt": "a"}], test_size=1)


def test_a_prompt_of_another_type_is_named_by_its_row(make: Make) -> None:
    with pytest.raises(UserError, match=r"prompts\.jsonl:2: a prompt is text or a message list"):
        make([{"prompt": "a"}, {"prompt": 7}])


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text("prompt\na\n")
    with pytest.raises(UserError, match=r"\.jsonl, \.json \(also \.gz\) or \.parquet"):
        run(
            PromptsConfig(path="x"),
            PromptsInputs(sources=[str(tmp_path / "prompts.csv")]),
            tmp_path,
        )


def test_parquet_and_json_give_the_rows_that_json_lines_give(tmp_path: Path) -> None:
    records = [{"prompt": "a"}, {"prompt": "b"}]
    write_jsonl(tmp_path / "p.jsonl", records)
    (tmp_path / "p.json").write_text(json.dumps(records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "p.parquet")
    made = []
    for name in ("p.jsonl", "p.json", "p.parquet"):
        out = tmp_path / f"out-{name}"
        out.mkdir()
        run(PromptsConfig(path="same"), PromptsInputs(sources=[str(tmp_path / name)]), out)
        made.append(read_table(out))
    assert made[0].equals(made[1]) and made[0].equals(made[2])


def test_a_dataset_is_loaded_by_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        write_jsonl(tmp_path / "data" / f"{split}.jsonl", [{"prompt": split}, {"prompt": "b"}])
    reference = str(tmp_path / "data")
    rows = list(read_column(reference, ["prompt"], "test"))
    assert rows == [(f"{reference}[0]", "test"), (f"{reference}[1]", "b")]
    with pytest.raises(UserError, match=r"split train_prefs\): cannot be loaded"):
        list(read_column(reference, ["prompt"], "train_prefs"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jsonl: no such file"):
        read_column(str(tmp_path / "gone.jsonl"), ["prompt"])


def test_parquet_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="no readable parquet"):
        run(PromptsConfig(path="x"), PromptsInputs(sources=[str(tmp_path / "p.parquet")]), tmp_path)


def test_a_revision_belongs_to_hub_datasets_alone(tmp_path: Path) -> None:
    assert PromptSource(path="owner/name", revision="main").reference == "owner/name@main"
    file = write_jsonl(tmp_path / "p.jsonl", [])
    assert PromptSource(path=str(file), revision="main").reference == str(file)


def test_real_ultrafeedback_rows_are_read(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "ultrafeedback" / "train_1000.jsonl"
    result = run(PromptsConfig(path=str(source), test_size=100), read(source), tmp_path)
    rows = read_table(tmp_path)
    assert len(set(rows["prompt_id"].to_pylist())) == result.rows
    assert result.facts.test == 100
    trained = result.facts.train + result.facts.test
    assert trained + sum(result.dropped.values()) >= 1000


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text()), min_size=1))
def test_prompt_ids_tell_roles_and_turns_apart(turns: list[tuple[str, str]]) -> None:
    messages = [{"role": role, "content": content} for role, content in turns]
    assert prompt_id(messages) == prompt_id([dict(turn) for turn in messages])
    swapped = [{**turn, "role": turn["role"] + "x"} for turn in messages]
    assert prompt_id(messages) != prompt_id(swapped)
    assert prompt_id(messages) != prompt_id([*messages, *messages])
