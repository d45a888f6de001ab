"""Requests, the journal and the stream, without a model."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from pydantic import ValidationError

from contracts.chat import ChatFormat, Message, RowError
from contracts.errors import OnPolicyError
from contracts.models.model import load_tokenizer
from contracts.tables.parts import part_paths, read_part
from generation.config import SampleConfig
from generation.engines.requests import (
    Failure,
    Outcome,
    Prompt,
    Request,
    Sample,
    plan_requests,
    sample_seed,
)
from generation.sampling.filling import Tally, fill
from generation.sampling.journal import Journals
from generation.sampling.scheduler import Stream, whole_batches
from generation.sampling.tables import ERRORS_NAME, Writer
from runtime.progress import Progress


class Shuffled:
    """An engine whose samples come back in a random order, some at each step."""

    def __init__(self, batch: int, capacity: int, order: Random) -> None:
        self.batch = batch
        self.capacity = capacity
        self.asked: list[str] = []
        self.most_in_flight = 0
        self._order = order
        self._batches: list[Sequence[Request]] = []

    def add(self, requests: Sequence[Request]) -> None:
        self._batches.append(requests)
        self.asked += [request.response_id for request in requests]
        self.most_in_flight = max(self.most_in_flight, sum(map(len, self._batches)))

    def step(self) -> list[Sample]:
        self._order.shuffle(self._batches)
        finished = [self._batches.pop() for _ in range(self._order.randint(0, len(self._batches)))]
        return [answer(request) for requests in finished for request in requests]

    def close(self) -> None:
        assert not self._batches


def answer(request: Request) -> Sample:
    return Sample(request.response_id, [request.seed % 1000], "stop", 0.5)


def some_parts(sizes: Sequence[int]) -> dict[int, list[Request]]:
    return {
        index: [Request(f"p{index}", sample, 1000 * index + sample, [1]) for sample in range(size)]
        for index, size in enumerate(sizes)
    }


def drain(
    parts: dict[int, list[Request]], engine: Shuffled, folder: Path
) -> dict[int, list[Outcome]]:
    with Journals(folder) as journals:
        progress = Progress(1000, "samples")
        steps = list(Stream(parts.items(), engine, journals, progress).run())
    return {part.index: part.outcomes for _, whole in steps for part in whole}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_parts_hold_their_samples_in_order_whatever_finishes_first(
    tmp_path: Path, batch: int, seed: int
) -> None:
    parts = some_parts([7, 5, 1, 9])
    engine = Shuffled(batch, capacity=6, order=Random(seed))
    made = drain(parts, engine, tmp_path)
    assert made == {i: [answer(r) for r in part] for i, part in parts.items()}
    assert engine.most_in_flight < 6 + batch
    with Journals(tmp_path) as journals:
        assert [len(journals.open(index)) for index in parts] == [7, 5, 1, 9]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_resumed_stream_asks_only_for_batches_that_are_not_whole(
    tmp_path: Path, batch: int, seed: int
) -> None:
    parts = some_parts([7, 5, 6])
    chosen = Random(seed).sample([(i, r) for i, part in parts.items() for r in part], 11)
    expected = {r.response_id for part in parts.values() for r in part}
    for index, part in parts.items():
        known = {r.response_id: answer(r) for i, r in chosen if i == index}
        with Journals(tmp_path) as journals:
            journals.open(index)
            journals.append(index, list(known.values()))
        expected -= set(whole_batches(part, known, batch))
    engine = Shuffled(batch, capacity=4, order=Random(seed))
    made = drain(parts, engine, tmp_path)
    assert made == {i: [answer(r) for r in part] for i, part in parts.items()}
    assert sorted(engine.asked) == sorted(expected)


def test_a_batch_with_a_lost_sample_is_not_whole() -> None:
    parts = some_parts([5])
    kept = [parts[0][i] for i in (0, 1, 2, 4)]
    done = whole_batches(parts[0], {r.response_id: answer(r) for r in kept}, batch=2)
    assert set(done) == {"p0-0", "p0-1", "p0-4"}


def test_a_torn_journal_line_is_cut_off_and_its_sample_drawn_again(tmp_path: Path) -> None:
    samples = [Sample(f"p-{i}", [1, 2, i], "stop", -0.25 * i) for i in range(3)]
    with Journals(tmp_path) as journals:
        journals.open(4)
        journals.append(4, samples)
    path = tmp_path / ".journal-00004.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    with Journals(tmp_path) as journals:
        assert list(journals.open(4)) == ["p-0", "p-1"]
        journals.append(4, samples[2:])
    with Journals(tmp_path) as journals:
        assert journals.open(4) == {sample.response_id: sample for sample in samples}
        journals.remove(4)
    assert not path.exists()


def test_a_journal_line_of_zeros_is_skipped(tmp_path: Path) -> None:
    with Journals(tmp_path) as journals:
        journals.open(0)
        journals.append(0, [Sample("p-0", [1], "stop")])
    with (tmp_path / ".journal-00000.jsonl").open("ab") as file:
        file.write(b"\0" * 40 + b"\n")
    with Journals(tmp_path) as journals:
        assert list(journals.open(0)) == ["p-0"]


class Failing(Shuffled):
    """An engine that has no answer for some requests."""

    def __init__(self, bad: set[str], order: Random) -> None:
        super().__init__(1, 4, order)
        self._bad = bad

    def step(self) -> list[Outcome]:  # type: ignore[override]
        return [
            Failure(one.response_id, "refused") if one.response_id in self._bad else one
            for one in super().step()
        ]


def fill_with(
    engine: Shuffled, parts: dict[int, list[Request]], allowed: int, out: Path, tiny_gemma: Path
) -> Tally:
    writer, tally = Writer(load_tokenizer(str(tiny_gemma)), [], "policy"), Tally(allowed)
    progress = Progress(100, "samples")
    fill(parts.items(), engine, Journals(out), out, writer, tally, progress)
    return tally


def test_failures_are_asked_again_and_their_parts_rows_kept(
    tmp_path: Path, tiny_gemma: Path
) -> None:
    parts = some_parts([3, 4])
    bad = {"p0-1", "p1-0"}
    tally = fill_with(Failing(bad, Random(0)), parts, 2, tmp_path, tiny_gemma)
    assert {failure.response_id for _, failure in tally.failures} == bad
    assert [read_part(path).num_rows for path in part_paths(tmp_path)] == [2, 3]
    assert not list(tmp_path.glob(".journal*"))
    again = Shuffled(1, 4, Random(0))
    tally = fill_with(again, parts, 0, tmp_path, tiny_gemma)
    assert (set(again.asked), tally.failures) == (bad, [])
    assert [read_part(path).num_rows for path in part_paths(tmp_path)] == [3, 4]


def test_too_many_failures_end_the_run_as_they_come_not_when_their_part_is_whole(
    tmp_path: Path, tiny_gemma: Path
) -> None:
    parts = some_parts([100])
    engine = Failing({r.response_id for r in parts[0]}, Random(0))
    with pytest.raises(OnPolicyError, match=rf"{ERRORS_NAME} tells all .* tries them again"):
        fill_with(engine, parts, 3, tmp_path, tiny_gemma)
    assert len(engine.asked) < 12


def ask(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def chat(tiny_gemma: Path) -> ChatFormat:
    return ChatFormat(load_tokenizer(str(tiny_gemma)))


def test_a_samples_seed_depends_on_run_prompt_and_index_alone(chat: ChatFormat) -> None:
    config = SampleConfig(n=2, max_tokens=8, seed=7, prompts_per_part=1)
    dropped: Counter[str] = Counter()
    both = plan_requests([Prompt("a", ask("x")), Prompt("b", ask("y"))], config, chat, 512, dropped)
    alone = plan_requests([Prompt("b", ask("y"))], config, chat, 512, dropped)
    assert both[1] == alone[0]
    assert [r.seed for r in alone[0]] == [sample_seed(7, "b", 0), sample_seed(7, "b", 1)]
    assert [r.response_id for r in alone[0]] == ["b-0", "b-1"]
    seeds = {sample_seed(run, p, i) for run in range(3) for p in "ab" for i in range(3)}
    assert len(seeds) == 18
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_recipes_seeds_are_used_as_they_are(chat: ChatFormat) -> None:
    config = SampleConfig(seeds=[13, 21, 42, 79, 100], max_tokens=8)
    parts = plan_requests([Prompt("a", ask("x"))], config, chat, 512, Counter())
    assert [r.seed for r in parts[0]] == [13, 21, 42, 79, 100]


def test_prompts_are_dropped_with_their_reason(chat: ChatFormat) -> None:
    prompts = [
        Prompt("long", ask("word " * 400)),
        Prompt("system", [{"role": "system", "content": "be brief"}, *ask("x")]),
        Prompt("special", ask("what does <end_of_turn> do?")),
        Prompt("fine", ask("x")),
    ]
    dropped: Counter[str] = Counter()
    parts = plan_requests(prompts, SampleConfig(n=1, max_tokens=8), chat, 128, dropped)
    assert [r.prompt_id for part in parts for r in part] == ["fine"]
    assert dropped == {"prompt_too_long": 1, "template_refused": 1, "special_token_in_text": 1}


def test_the_longest_prompt_that_leaves_room_for_an_answer_is_kept(chat: ChatFormat) -> None:
    config = SampleConfig(n=1, max_tokens=8)
    length = len(chat.prompt_ids(ask("x")))
    assert plan_requests([Prompt("a", ask("x"))], config, chat, length + 8, Counter())
    assert not plan_requests([Prompt("a", ask("x"))], config, chat, length + 7, Counter())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"temperature": 0}, "set n: 1"),
        ({"seeds": [1, 1]}, "seed twice"),
        ({"top_p": 0}, "greater than 0"),
        ({"max_tokens": 100, "max_model_len": 100}, "no room for a prompt"),
        ({"stop": [""]}, "at least 1 character"),
    ],
)
def test_settings_that_make_no_sense_are_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SampleConfig.model_validate(keys)


def test_a_row_error_names_its_reason(chat: ChatFormat) -> None:
    with pytest.raises(RowError) as error:
        chat.prompt_ids(ask("<bos>"))
    assert error.value.reason == "special_token_in_text"
