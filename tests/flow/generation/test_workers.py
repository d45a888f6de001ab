"""Sampling by worker processes that are killed, crash, and are given requests that crash them."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.errors import OnPolicyError, UserError
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import read_table, write_part
from contracts.tables.schemas import PROMPTS
from generation.config import SampleConfig
from generation.engines.requests import Request
from generation.sample import STAGE
from generation.sampling.tables import ERRORS_NAME
from generation.sources.conversation import prompt_id
from generation.workers import handle

pytestmark = pytest.mark.engine

KILLS = 50
POISON = "zzpoison"
PROMPT = [field.name for field in fields(Request)].index("prompt")

Sampler = Callable[..., Manifest]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers share the cores with each other and with us."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def poisoned_gemma(tiny_gemma: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real mistake: the tokenizer has a word that the model's embeddings have no row for."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("poisoned") / "gemma"
    shutil.copytree(tiny_gemma, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([POISON])
    tokenizer.save_pretrained(folder)
    return folder


def write_prompts(folder: Path, texts: list[str]) -> Path:
    rows = []
    for text in texts:
        messages = [{"role": "user", "content": text}]
        rows.append({"messages": messages, "source": "x", "split": "train"})
        rows[-1]["prompt_id"] = prompt_id(messages)  # type: ignore[arg-type]
    folder.mkdir()
    write_part(folder, 0, pa.Table.from_pylist(rows, schema=PROMPTS), PROMPTS)
    write_manifest(folder, "test", Result(rows=len(rows)), Manifest.clock())
    return folder


@pytest.fixture
def sample(tmp_path: Path) -> Sampler:
    def run(
        policy: Path,
        prompts: Path,
        name: str,
        workers: int,
        share: float = 0.0,
        hang_timeout: float = 600,
        load_timeout: float = 600,
        **keys: Any,
    ) -> Manifest:
        resources = {"data_parallel": workers, "max_error_share": share}
        resources |= {"hang_timeout": hang_timeout, "load_timeout": load_timeout}
        engine = {"kind": "transformers", "batch_size": 4, "resources": resources}
        keys = {"n": 3, "max_tokens": 24, "prompts_per_part": 4, "engine": engine} | keys
        inputs = {"prompts": str(prompts), "policy": str(policy)}
        return run_once(STAGE, SampleConfig(**keys), inputs, tmp_path / name)

    return run


class Killer(threading.Thread):
    """Kills a worker after each seeded number of samples and moment of time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kills: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.left = kills
        self.stop = False
        self._random = Random(seed)
        self._finished = 0
        self._members: dict[int, handle.SamplingWorker] = {}
        begin, finish = handle.SamplingWorker.begin, handle.SamplingWorker.finish

        def begun(one: handle.SamplingWorker) -> None:
            begin(one)
            self._members[one.number] = one

        def finished(one: handle.SamplingWorker, outcome: Any) -> Any:
            self._finished += 1
            return finish(one, outcome)

        monkeypatch.setattr(handle.SamplingWorker, "begin", begun)
        monkeypatch.setattr(handle.SamplingWorker, "finish", finished)

    def run(self) -> None:
        due = 1
        while self.left and not self.stop:
            time.sleep(self._random.uniform(0.0, 0.02))
            living = [one for one in self._members.values() if one.ready]
            if self._finished >= due and living:
                chosen = self._random.choice(living)
                chosen.ready = False
                os.kill(chosen.wire.process.pid, signal.SIGKILL)
                self.left -= 1
                due = self._finished + self._random.randint(0, 16)


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, int], Killer]]:
    made: list[Killer] = []

    def start(kills: int, seed: int) -> Killer:
        made.append(Killer(monkeypatch, kills, seed))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.stop = True


def test_fifty_kills_of_workers_change_no_byte(
    sample: Sampler, tiny_gemma: Path, tmp_path: Path, killer: Callable[[int, int], Killer]
) -> None:
    texts = [f"name {i} {'red ' * (i % 9)}fish" for i in range(128)]
    prompts = write_prompts(tmp_path / "prompts", texts)
    whole = sample(tiny_gemma, prompts, "whole", workers=1)
    kills, seed = 0, 0
    started = time.monotonic()
    while kills < KILLS:
        assassin = killer(KILLS - kills, seed)
        killed = sample(tiny_gemma, prompts, f"killed-{seed}", workers=2)
        assassin.stop = True
        assassin.join()
        assert killed.files == whole.files
        assert killed.dropped == {}
        kills, seed = KILLS - assassin.left, seed + 1
    print(f"{KILLS} kills in {seed} runs, {time.monotonic() - started:.1f} s")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_request_that_crashes_its_worker_is_named_and_the_run_goes_on(
    sample: Sampler, poisoned_gemma: Path, tmp_path: Path, workers: int
) -> None:
    texts = [f"name {i} fish" for i in range(7)]
    texts.insert(4, f"name the {POISON}")
    prompts = write_prompts(tmp_path / "prompts", texts)
    made = sample(poisoned_gemma, prompts, "out", workers=workers, share=0.2)
    assert made.dropped == {"sampling_error": 3}
    assert made.rows == 21
    errors = pq.read_table(tmp_path / "out" / ERRORS_NAME).to_pylist()
    assert [error["sample"] for error in errors] == [0, 1, 2]
    named = prompt_id([{"role": "user", "content": f"name the {POISON}"}])
    assert {error["prompt_id"] for error in errors} == {named}
    assert all("IndexError" in error["error"] for error in errors)
    assert named not in read_table(tmp_path / "out")["prompt_id"].to_pylist()
    if workers == 1:  # killed just before the manifest: the failures are tried again and counted
        (tmp_path / "out" / "_manifest.json").unlink()
        again = sample(poisoned_gemma, prompts, "out", workers=1, share=0.2)
        assert (again.dropped, again.files) == (made.dropped, made.files)


def test_too_many_failures_end_the_run_and_a_higher_share_goes_on(
    sample: Sampler, poisoned_gemma: Path, tmp_path: Path
) -> None:
    prompts = write_prompts(tmp_path / "prompts", ["name a fish", f"name the {POISON}"])
    for _ in range(2):
        with pytest.raises(OnPolicyError, match=r"max_error_share admits; the first is \w+-0: In"):
            sample(poisoned_gemma, prompts, "out", workers=1, share=0.1, n=2)
        assert (tmp_path / "out" / ERRORS_NAME).exists()
    made = sample(poisoned_gemma, prompts, "out", workers=1, share=0.5, n=2)
    assert made.rows == 2
    assert made.dropped == {"sampling_error": 2}


def test_a_worker_that_cannot_load_the_model_says_so_once(
    sample: Sampler, tiny_gemma: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_gemma, broken)
    (broken / "model.safetensors").unlink()
    prompts = write_prompts(tmp_path / "prompts", ["name a fish"])
    with pytest.raises(UserError, match=r"broken: holds no \*\.safetensors"):
        sample(broken, prompts, "out", workers=2)


def test_a_worker_that_hangs_is_replaced_and_its_requests_are_sampled(
    sample: Sampler,
    tiny_gemma: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stopped: list[int] = []
    send_out = handle.SamplingWorker.send_out

    def sent_out(one: handle.SamplingWorker) -> None:
        send_out(one)
        if one.busy and not stopped:
            stopped.append(one.wire.process.pid)
            os.kill(stopped[0], signal.SIGSTOP)

    prompts = write_prompts(tmp_path / "prompts", [f"name {i} fish" for i in range(12)])
    whole = sample(tiny_gemma, prompts, "whole", workers=1)
    monkeypatch.setattr(handle.SamplingWorker, "send_out", sent_out)
    hung = sample(tiny_gemma, prompts, "hung", workers=2, hang_timeout=3)
    assert hung.files == whole.files
    assert "hung: silent for 3 s" in caplog.text
    assert not Path(f"/proc/{stopped[0]}").exists()


def test_one_broken_gpu_is_left_out_and_takes_no_request_with_it(
    sample: Sampler,
    tiny_gemma: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    send, begin = handle.SamplingWorker.send, handle.SamplingWorker.begin
    starts: list[int] = []

    def sent(one: handle.SamplingWorker, **message: Any) -> None:
        """Worker 0 gets ids that no embedding has a row for: it crashes whatever it is asked."""
        for batch in message.get("batches", []) if one.number == 0 else []:
            for request in batch:
                request[PROMPT] = [10**6]
        send(one, **message)

    def begun(one: handle.SamplingWorker) -> None:
        starts.append(one.number)
        begin(one)

    monkeypatch.setattr(handle.SamplingWorker, "send", sent)
    monkeypatch.setattr(handle.SamplingWorker, "begin", begun)
    prompts = write_prompts(tmp_path / "prompts", [f"name {i} fish" for i in range(32)])
    made = sample(tiny_gemma, prompts, "out", workers=2, n=1, max_tokens=8)
    assert (made.rows, made.dropped) == (32, {})
    assert starts.count(0) <= 3 and starts.count(1) == 1
    assert "worker 0 ended (IndexError" in caplog.text


def test_a_worker_that_hangs_while_it_loads_ends_the_stage_and_is_named(
    sample: Sampler, tiny_gemma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = handle.SamplingWorker.begin

    def begun(one: handle.SamplingWorker) -> None:
        begin(one)
        os.kill(one.wire.process.pid, signal.SIGSTOP)

    monkeypatch.setattr(handle.SamplingWorker, "begin", begun)
    prompts = write_prompts(tmp_path / "prompts", ["name a fish"])
    message = rf"worker 0 cannot load {tiny_gemma}: hung: silent for 3 s .*resources.load_timeout"
    with pytest.raises(OnPolicyError, match=message):
        sample(tiny_gemma, prompts, "alone", workers=1, load_timeout=3)
