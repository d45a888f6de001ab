"""The sampling stage on a real vLLM engine, as a process that is killed and started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checkout import CHECKOUT

from contracts.steps.manifest import Manifest, Result, read_manifest, write_manifest
from contracts.steps.step import claim, run_once
from contracts.tables.parts import part_paths, read_table, write_part
from contracts.tables.schemas import PROMPTS
from generation.config import SampleConfig
from generation.engines.device import this_device
from generation.engines.requests import Failure, Outcome, Sample
from generation.engines.vllm import outcome_of
from generation.sample import STAGE
from generation.sources.conversation import prompt_id
from generation.workers.handle import SamplingWorker

pytestmark = pytest.mark.engine

KILLS = 8
VLLM = {"kind": "vllm", "resources": {"max_num_seqs": 16}}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 prompts of different lengths."""
    folder = tmp_path_factory.mktemp("prompts")
    rows = []
    for i in range(24):
        messages = [{"role": "user", "content": f"name {i} {'red ' * (i % 7)}fish"}]
        identifier = prompt_id(messages)
        rows.append(
            {"prompt_id": identifier, "messages": messages, "source": "x", "split": "train"}
        )
    write_part(folder, 0, pa.Table.from_pylist(rows, schema=PROMPTS), PROMPTS)
    write_manifest(folder, "test", Result(rows=len(rows)), Manifest.clock())
    return folder


class Step:
    """One step folder and the process that fills it."""

    def __init__(self, out: Path, inputs: dict[str, str], **keys: Any) -> None:
        self.out = out
        config = SampleConfig(**{"n": 4, "max_tokens": 100, "prompts_per_part": 5, **keys})
        claim(STAGE, config, inputs, out)

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "generation.sample", str(self.out / "_step.json")],
            cwd=CHECKOUT, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def finish(self) -> Manifest:
        process = self.start()
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        manifest = read_manifest(self.out)
        assert manifest is not None
        return manifest

    def finished(self) -> int:
        """Samples in parts and journals."""
        rows = sum(pq.read_metadata(path).num_rows for path in part_paths(self.out))
        journals = {path.name for path in self.out.glob(".journal*")}
        for name in journals - {f".journal-{path.stem[5:]}.jsonl" for path in part_paths(self.out)}:
            with suppress(FileNotFoundError):  # its part was written just now
                rows += (self.out / name).read_bytes().count(b"\n")
        return rows

    def kill_after(self, samples: int) -> None:
        process = self.start()
        while self.finished() < samples:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_killed_run_resumes_to_the_bytes_of_a_whole_one(
    tiny_gemma: Path, prompts: Path, tmp_path: Path
) -> None:
    inputs = {"prompts": str(prompts), "policy": str(tiny_gemma)}
    whole = Step(tmp_path / "whole", inputs).finish()
    killed = Step(tmp_path / "killed", inputs, engine=VLLM)
    killed.kill_after(1)
    killed.kill_after(killed.finished() + 20)
    kept = {path.name: path.stat().st_mtime_ns for path in part_paths(killed.out)}
    resumed = killed.finish()
    assert resumed.files == whole.files
    assert resumed.rows == 96
    after = {path.name: path.stat().st_mtime_ns for path in part_paths(killed.out)}
    assert kept.items() <= after.items()


def test_kills_of_two_vllm_workers_change_no_byte(
    tiny_gemma: Path,
    prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers_of: Callable[[int], list[int]],
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    inputs = {"prompts": str(prompts), "policy": str(tiny_gemma)}
    whole = Step(tmp_path / "whole", inputs, engine=VLLM, n=12).finish()
    two = {"kind": "vllm", "resources": {"max_num_seqs": 16, "data_parallel": 2}}
    kills, seed = 0, 0
    while kills < KILLS:  # a slow machine's other worker may end the run before all are
        step = Step(tmp_path / f"killed-{seed}", inputs, engine=two, n=12)
        kills += kill_workers(step, Random(seed), KILLS - kills, workers_of)
        killed, seed = read_manifest(step.out), seed + 1
        assert killed is not None
        assert (killed.files, killed.rows, killed.dropped) == (whole.files, 288, {})


def kill_workers(
    step: Step, random: Random, most: int, workers_of: Callable[[int], list[int]]
) -> int:
    """Kills one of two workers after each few samples, until the stage ends; the kills."""
    stage, kills, due = step.start(), 0, 1
    while kills < most and stage.poll() is None:
        time.sleep(random.uniform(0.0, 0.02))
        if step.finished() >= due and len(workers := workers_of(stage.pid)) == 2:
            os.kill(random.choice(workers), signal.SIGKILL)
            kills, due = kills + 1, step.finished() + random.randint(1, 24)
    output, _ = stage.communicate(timeout=300)
    assert stage.returncode == 0, output
    return kills


def test_a_worker_gets_requests_many_at_a_time(
    tiny_gemma: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    send = SamplingWorker.send

    def sent(member: SamplingWorker, **message: Any) -> None:
        sizes.extend([len(message["batches"])] if "batches" in message else [])
        send(member, **message)

    monkeypatch.setattr(SamplingWorker, "send", sent)
    inputs = {"prompts": str(prompts), "policy": str(tiny_gemma)}
    manifest = run_once(STAGE, SampleConfig(n=4, max_tokens=40, engine=VLLM), inputs, tmp_path)
    assert manifest.rows == sum(sizes) == 96
    first, *between, _ = sizes
    assert first == 32  # twice the sequences that run at once
    assert min(between) >= 4


def test_greedy_vllm_and_greedy_transformers_agree(
    tiny_gemma: Path, prompts: Path, tmp_path: Path
) -> None:
    inputs = {"prompts": str(prompts), "policy": str(tiny_gemma)}
    keys = {"n": 1, "temperature": 0, "logprobs": True, "max_tokens": 30, "stop": ["e"]}
    Step(tmp_path / "vllm", inputs, engine=VLLM, **keys).finish()
    plain = SampleConfig(**keys, engine={"kind": "transformers"})
    run_once(STAGE, plain, inputs, tmp_path / "plain")
    fast = read_table(tmp_path / "vllm").sort_by("prompt_id").to_pylist()
    slow = read_table(tmp_path / "plain").sort_by("prompt_id").to_pylist()
    for ours, theirs in zip(fast, slow, strict=True):
        assert ours.pop("logprob") == pytest.approx(theirs.pop("logprob"), abs=1e-3)
        assert ours == theirs


def test_vllm_samples_an_adapter(tiny_gemma: Path, prompts: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    base = AutoModelForCausalLM.from_pretrained(tiny_gemma)
    get_peft_model(base, settings).save_pretrained(tmp_path / "adapter")
    inputs = {"prompts": str(prompts), "policy": str(tmp_path / "adapter")}
    keys = {"n": 1, "temperature": 0, "max_tokens": 20}
    Step(tmp_path / "vllm", inputs, engine=VLLM, **keys).finish()
    plain = {"kind": "transformers", "resources": {"data_parallel": 0}}
    run_once(STAGE, SampleConfig(**keys, engine=plain), inputs, tmp_path / "plain")
    fast = read_table(tmp_path / "vllm").sort_by("prompt_id")["token_ids"]
    slow = read_table(tmp_path / "plain").sort_by("prompt_id")["token_ids"]
    assert fast == slow


def test_a_quantised_cache_is_used_where_the_device_can_and_refused_at_once_elsewhere(
    tiny_gemma: Path, prompts: Path, tmp_path: Path
) -> None:
    inputs = {"prompts": str(prompts), "policy": str(tiny_gemma)}
    engine = VLLM | {"kv_cache": "fp8"}
    step = Step(tmp_path / "fp8", inputs, engine=engine, n=1, temperature=0, max_tokens=20)
    process = step.start()
    output, _ = process.communicate(timeout=300)
    if this_device().holds_fp8_cache:
        assert (process.returncode, len(read_table(step.out))) == (0, 24), output
    else:
        assert (process.returncode, "Loading" in output) == (2, False), output
        assert "sampling.engine.kv_cache 'fp8'" in output and "set `kv_cache: auto`" in output


def test_only_an_answer_that_ended_or_filled_its_room_is_a_sample() -> None:
    from vllm.outputs import CompletionOutput, RequestOutput
    from vllm.v1.engine import FINISH_REASON_STRINGS

    found: dict[str, Outcome] = {}
    for reason in FINISH_REASON_STRINGS:
        answer = CompletionOutput(0, "", [1, 2], None, None, finish_reason=reason)
        found[reason] = outcome_of(RequestOutput("p-0", None, [1], None, [answer], finished=True))
    for reason in ("stop", "length"):
        assert found.pop(reason) == Sample("p-0", [1, 2], reason)
    assert {"abort", "error", "repetition"} <= set(found)
    for reason, outcome in found.items():
        assert outcome == Failure("p-0", f"vLLM ended it: {reason}")
