"""Prompts with a decoding of their own, and turns that follow the policy's answers."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.chat import ChatFormat, Message
from contracts.errors import UserError
from contracts.models.model import load_tokenizer
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import part_path, part_paths, read_part, read_table
from contracts.tables.schemas import MESSAGES
from generation.config import SampleConfig
from generation.engines.requests import Failure, Prompt, Request, Sample, plan_requests
from generation.sample import STAGE
from generation.sampling.filling import Tally, fill
from generation.sampling.journal import Journals
from generation.sampling.prompts import read_prompts
from generation.sampling.tables import ERRORS_NAME, Writer, read_samples
from generation.sampling.turns import Turns
from runtime.progress import Progress

SCHEMA = pa.schema(
    {
        "prompt_id": pa.string(), "messages": MESSAGES, "n": pa.int32(), "follows": pa.string(),
        "temperature": pa.float64(), "max_tokens": pa.int32(),
    }
)  # fmt: skip
# In this process: a worker of its own would import torch again.
ENGINE = {"kind": "transformers", "batch_size": 4, "resources": {"data_parallel": 0}}


def ask(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    rows = [{name: row.get(name) for name in SCHEMA.names} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "part-00000.parquet")
    write_manifest(folder, "test", Result(rows=len(rows)), Manifest.clock())
    return folder


ROWS = [
    {"prompt_id": "alone", "messages": ask("name red fish"), "max_tokens": 5},
    {"prompt_id": "first", "messages": ask("name a fish"), "temperature": 0.0, "n": 2},
    {"prompt_id": "second", "messages": ask("another"), "follows": "first"},
    {"prompt_id": "third", "messages": ask("one more"), "follows": "second", "temperature": 0.0},
]


@pytest.fixture(scope="module")
def chat(tiny_gemma: Path) -> ChatFormat:
    return ChatFormat(load_tokenizer(str(tiny_gemma)))


@pytest.fixture
def sample(tiny_gemma: Path, tmp_path: Path) -> Any:
    """Runs the stage on a table of prompts; the manifest and the rows by response id."""

    def run(name: str = "out", rows: list[dict[str, Any]] = ROWS) -> tuple[Manifest, Any]:
        config = SampleConfig.model_validate({"n": 3, "max_tokens": 12, "engine": ENGINE})
        inputs = {"prompts": str(write(tmp_path / "prompts", rows)), "policy": str(tiny_gemma)}
        manifest = run_once(STAGE, config, inputs, tmp_path / name)
        return manifest, {r["response_id"]: r for r in read_table(tmp_path / name).to_pylist()}

    return run


def test_a_prompt_may_have_its_own_number_of_samples_temperature_and_length(sample: Any) -> None:
    _, rows = sample()
    assert Counter(row["prompt_id"] for row in rows.values()) == {
        "alone": 3, "first": 2, "second": 2, "third": 2
    }  # fmt: skip
    assert max(rows[f"alone-{i}"]["n_tokens"] for i in range(3)) <= 5
    assert rows["first-0"]["token_ids"] == rows["first-1"]["token_ids"]  # greedy
    assert rows["second-0"]["token_ids"] != rows["second-1"]["token_ids"]


def test_a_run_stopped_between_turns_goes_on_without_redoing_the_first(
    sample: Any, tmp_path: Path
) -> None:
    whole, _ = sample("whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    (tmp_path / "stopped" / "_manifest.json").unlink()
    part_path(tmp_path / "stopped", 2).unlink()
    part_path(tmp_path / "stopped", 1).unlink()
    before = part_path(tmp_path / "stopped", 0).stat().st_mtime_ns
    resumed, _ = sample("stopped")
    assert resumed.files == whole.files
    assert part_path(tmp_path / "stopped", 0).stat().st_mtime_ns == before


class Scripted:
    """An engine that answers with the prompt's last token, the newest request first."""

    batch = 1
    capacity = 100

    def __init__(self, fails: str = "") -> None:
        self.asked: list[Request] = []
        self._open: list[Request] = []
        self._fails = fails

    def add(self, requests: Any) -> None:
        self.asked += requests
        self._open += requests

    def step(self) -> list[Sample | Failure]:
        request = self._open.pop()
        if request.response_id == self._fails:
            return [Failure(request.response_id, "crashed")]
        return [Sample(request.response_id, request.prompt[-1:], "stop")]

    def close(self) -> None:
        pass


def drain(
    rows: list[dict[str, Any]], chat: ChatFormat, folder: Path, engine: Scripted, context: int = 512
) -> Tally:
    """Sample the missing parts of a table's plan in `folder / "out"`."""
    config = SampleConfig(n=1, max_tokens=4, prompts_per_part=1)
    prompts = write(folder / "prompts", rows)
    planned = plan_requests(read_prompts(prompts), config, chat, context, Counter())
    out = folder / "out"
    out.mkdir(exist_ok=True)
    missing = [i for i in range(len(planned)) if not part_path(out, i).exists()]
    journals, tally = Journals(out), Tally(10)
    turns = Turns(planned, prompts, config, chat, context)
    writer = Writer(chat.tokenizer, [], "policy")
    parts = turns.parts(missing, out, journals)
    fill(parts, engine, journals, out, writer, tally, Progress(1, "samples"))
    return tally


def test_a_later_turns_ids_hold_every_answer_before_it_and_one_bos(
    chat: ChatFormat, tmp_path: Path
) -> None:
    engine = Scripted()
    drain(ROWS, chat, tmp_path, engine)
    ids = {request.response_id: request.prompt for request in engine.asked}
    said = {row["response_id"]: row["text"] for row in read_table(tmp_path / "out").to_pylist()}
    conversation = [
        *ask("name a fish"), {"role": "assistant", "content": said["first-1"]},
        *ask("another"), {"role": "assistant", "content": said["second-1"]},
        *ask("one more"),
    ]  # fmt: skip
    assert ids["third-1"] == chat.prompt_ids(conversation)  # type: ignore[arg-type]
    assert ids["third-1"].count(chat.bos_id or -1) == 1


def test_first_turns_lie_before_the_prompts_that_nothing_follows(chat: ChatFormat) -> None:
    prompts = [Prompt(f"p{i}", ask("x")) for i in range(3)]
    prompts += [Prompt("last", ask("y"), follows="p2")]
    planned = plan_requests(prompts, SampleConfig(n=1, max_tokens=4), chat, 512, Counter())
    parts = [[one.prompt_id for one in planned.prompts_in(i)] for i in range(len(planned))]
    assert parts == [["p2", "p0", "p1"], ["last"]]


def test_journaled_first_turns_are_not_asked_again(chat: ChatFormat, tmp_path: Path) -> None:
    drain(ROWS, chat, tmp_path, Scripted())
    whole = {path.name: path.read_bytes() for path in part_paths(tmp_path / "out")}
    for index in (0, 2, 3):  # "first" back in its journal, the turns after it not yet asked
        path = part_path(tmp_path / "out", index)
        with Journals(tmp_path / "out") as journals:
            known = read_samples(path)
            path.unlink()
            if index == 0:
                journals.open(index)
                journals.append(index, known)
    engine = Scripted()
    drain(ROWS, chat, tmp_path, engine)
    assert {request.prompt_id for request in engine.asked} == {"second", "third"}
    assert {path.name: path.read_bytes() for path in part_paths(tmp_path / "out")} == whole


def test_a_turn_after_one_without_an_answer_is_told_and_never_asked(
    chat: ChatFormat, tmp_path: Path
) -> None:
    engine = Scripted(fails="first-1")
    tally = drain(ROWS, chat, tmp_path, engine)
    assert [(one.response_id, failure.error) for one, failure in tally.failures] == [
        ("first-1", "crashed")
    ]
    dropped = Counter[str]()
    tally.write(tmp_path, dropped)
    assert dropped == {"sampling_error": 1, "no_turn_before": 2}
    told = read_part(tmp_path / ERRORS_NAME, ["response_id", "error"]).to_pylist()
    assert {row["response_id"]: row["error"] for row in told} == {
        "first-1": "crashed",
        "second-1": "no_turn_before: first has no answer",
        "third-1": "no_turn_before: first has no answer",
    }
    assert {r.response_id for r in engine.asked} >= {"second-0", "third-0"}


def test_a_turn_whose_conversation_is_too_long_is_told_and_no_failure(
    chat: ChatFormat, tmp_path: Path
) -> None:
    rows = [{"prompt_id": "first", "messages": ask("word " * 20)},
            {"prompt_id": "second", "messages": ask("another"), "follows": "first"}]  # fmt: skip
    just_the_first = len(chat.prompt_ids(ask("word " * 20))) + 4
    tally = drain(rows, chat, tmp_path, Scripted(), just_the_first)
    ((request, failure),) = tally.refused
    assert not tally.failures
    assert request.response_id == "second-0"
    assert failure.error.startswith("prompt_too_long: ")  # type: ignore[union-attr]


def test_a_turn_after_a_prompt_left_out_is_left_out_and_one_after_none_refused(
    chat: ChatFormat,
) -> None:
    config, dropped = SampleConfig(n=1, max_tokens=4), Counter[str]()
    first = Prompt("first", ask("<bos>"))
    later = [Prompt("second", ask("x"), follows="first"), Prompt("third", ask("x"))]
    planned = plan_requests([first, *later], config, chat, 512, dropped)
    assert [request.prompt_id for part in planned for request in part] == ["third"]
    assert dropped == {"special_token_in_text": 1, "turn_before_left_out": 1}
    with pytest.raises(UserError, match="second: follows first, which is not before it"):
        plan_requests(later, config, chat, 512, dropped)
