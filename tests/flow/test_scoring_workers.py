"""Scoring by worker processes that are killed, crash, hang, and cannot load their model."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pyarrow as pa
import pytest

from annotation import score, score_crew
from annotation.config import ScoreConfig
from annotation.score_worker import work
from contracts.errors import OnPolicyError, UserError
from contracts.manifest import Manifest, Result, read_manifest, write_manifest
from contracts.parts import part_paths, read_table, write_part
from contracts.site import Site
from contracts.step import claim, run_once
from contracts.tables import PROMPTS, RESPONSES
from contracts.workers import hear

pytestmark = pytest.mark.engine

CHECKOUT = Path(__file__).parents[2]
KILLS = 50
POISON = "zzpoison"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers share the cores with each other and with us."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory: pytest.TempPathFactory, tiny_llama_tokenizer: Any) -> Path:
    """A small random ArmoRM whose tokenizer has a word that its embeddings have no row for."""
    import torch
    from transformers import LlamaConfig

    from annotation.armorm import ArmoRM

    path = tmp_path_factory.mktemp("armorm")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny_llama_tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=tiny_llama_tokenizer.pad_token_id,
        initializer_range=0.2,
        gating_hidden_dim=16,
    )
    ArmoRM(config).save_pretrained(path)
    tiny_llama_tokenizer.save_pretrained(path)
    vocabulary = json.loads((path / "tokenizer.json").read_text())
    special = dict(vocabulary["added_tokens"][-1])
    special |= {"id": len(tiny_llama_tokenizer), "content": POISON, "special": False}
    vocabulary["added_tokens"].append(special)
    (path / "tokenizer.json").write_text(json.dumps(vocabulary))
    return path


def write_run(root: Path, texts: list[str], per_part: int, n: int = 3) -> dict[str, str]:
    """Prompts with `n` responses each, as a run's tables; the stage's inputs."""
    prompts, responses = [], []
    for i, text in enumerate(texts):
        name = f"p{i:04}"
        messages = [{"role": "user", "content": text}]
        prompts.append({"prompt_id": name, "messages": messages, "source": "x", "split": "train"})
        for sample in range(n):
            answer = {"text": f"fish {sample} " + "red " * ((7 * i + sample) % 11)}
            row = dict.fromkeys(RESPONSES.names, None) | answer
            row |= {"prompt_id": name, "response_id": f"{name}-{sample}", "sample": sample}
            row |= {"seed": sample, "token_ids": [1], "n_tokens": 1}
            responses.append(row | {"finish_reason": "stop", "policy": "some policy"})
    tables = [("prompts", prompts, PROMPTS, 1), ("responses", responses, RESPONSES, n)]
    for name, rows, schema, each in tables:
        (root / name).mkdir(parents=True)
        size = per_part * each
        for part, first in enumerate(range(0, len(rows), size)):
            table = pa.Table.from_pylist(rows[first : first + size], schema)
            write_part(root / name, part, table, schema)
        finished = Result(rows=len(rows), facts={"policy": "some policy"})
        write_manifest(root / name, "test", finished, Manifest.clock())
    return {"prompts": str(root / "prompts"), "responses": str(root / "responses")}


def config_of(model: Path, workers: int, **resources: Any) -> ScoreConfig:
    armorm = {"kind": "armorm", "name": "armo", "path": str(model), "max_length": 512}
    resources = {"device": "cpu", "workers": workers, **resources}
    return ScoreConfig.model_validate({"annotators": [armorm], "resources": resources})


def fish(count: int) -> list[str]:
    return [f"name {i} {'red ' * (i % 9)}fish" for i in range(count)]


class Chaos:
    """A stage, started as often as it is killed; each kill is at a seeded moment."""

    def __init__(
        self, out: Path, seed: int, kills: int, workers_of: Callable[[int], list[int]]
    ) -> None:
        self._out = out
        self._workers_of = workers_of
        self._random = Random(seed)
        self.left = kills
        self.stages = 0

    def run(self) -> Manifest:
        while self._kill_or_finish(self._start()):
            self.stages += 1
        manifest = read_manifest(self._out)
        assert manifest is not None
        return manifest

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "annotation.score", str(self._out / "_step.json")],
            cwd=CHECKOUT, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def _kill_or_finish(self, stage: subprocess.Popen[bytes]) -> bool:
        """Whether the stage was killed itself."""
        due = len(part_paths(self._out)) + 1
        while stage.poll() is None:
            time.sleep(self._random.uniform(0.0, 0.02))
            workers = self._workers_of(stage.pid)
            if not self.left or not workers or len(part_paths(self._out)) < due:
                continue
            self.left -= 1
            due = len(part_paths(self._out)) + self._random.randint(1, 6)
            if self._random.random() < 0.12:
                stage.kill()
                stage.wait()
                return True
            os.kill(self._random.choice(workers), signal.SIGKILL)
        assert stage.stderr is not None
        assert stage.returncode == 0, stage.stderr.read().decode()
        return False


def test_fifty_kills_of_workers_and_of_the_stage_change_no_byte(
    reward_model: Path, tmp_path: Path, workers_of: Callable[[int], list[int]]
) -> None:
    inputs = write_run(tmp_path, fish(240), per_part=2) | {"model:armo": str(reward_model)}
    whole = run_once(score.STAGE, config_of(reward_model, 0), inputs, tmp_path / "whole")
    kills, seed, stages = 0, 0, 0
    started = time.monotonic()
    while kills < KILLS:
        out = tmp_path / f"killed-{seed}"
        claim(score.STAGE, config_of(reward_model, 2), inputs, out)
        chaos = Chaos(out, seed, KILLS - kills, workers_of)
        killed = chaos.run()
        assert (killed.files, killed.rows, killed.facts) == (whole.files, whole.rows, whole.facts)
        kills, seed, stages = KILLS - chaos.left, seed + 1, stages + chaos.stages
    print(f"{KILLS} kills, {stages} of the stage, {seed} runs, {time.monotonic() - started:.1f} s")
    assert 0 < stages < KILLS


def test_the_number_of_workers_changes_no_byte(reward_model: Path, tmp_path: Path) -> None:
    inputs = write_run(tmp_path, fish(21), per_part=4) | {"model:armo": str(reward_model)}
    made = [
        run_once(score.STAGE, config_of(reward_model, workers), inputs, tmp_path / str(workers))
        for workers in (0, 1, 2)
    ]
    assert made[0].rows == 63
    assert made[0].files == made[1].files == made[2].files
    assert made[0].facts == made[1].facts == made[2].facts


@pytest.mark.parametrize("workers", [1, 2])
def test_a_prompt_that_crashes_its_worker_twice_is_named(
    reward_model: Path, tmp_path: Path, workers: int
) -> None:
    texts = fish(12)
    texts[9] = f"name the {POISON}"
    inputs = write_run(tmp_path, texts, per_part=4) | {"model:armo": str(reward_model)}
    out = tmp_path / "scores"
    pattern = r"part-00002\.parquet: annotator 'armo' on prompt p0009 crashed.*IndexError"
    for _ in range(2):
        with pytest.raises(OnPolicyError, match=pattern) as caught:
            run_once(score.STAGE, config_of(reward_model, workers), inputs, out)
        assert not isinstance(caught.value, UserError)
    assert {path.name for path in part_paths(out)} <= {"part-00000.parquet", "part-00001.parquet"}


MOODY = """
from pathlib import Path

crashed = Path(__file__).with_name("crashed")
calls = 0

def reward(messages, text):
    global calls
    calls += 1
    if calls > 3 + 4 * crashed.exists():
        crashed.touch()
        raise IndexError("too many")
    return 1.0
"""


def test_a_part_that_crashes_only_as_a_whole_is_named_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "moody_rewards.py").write_text(MOODY)
    monkeypatch.syspath_prepend(tmp_path)
    inputs = write_run(tmp_path, fish(4), per_part=4, n=1)
    config = function_config("moody_rewards:reward")
    with pytest.raises(OnPolicyError, match=r"part-00000\.parquet: scoring it crashed .* again"):
        run_once(score.STAGE, config, inputs, tmp_path / "scores")


def test_a_stopped_worker_does_not_stop_whoever_writes_to_it(
    reward_model: Path, tmp_path: Path
) -> None:
    inputs = write_run(tmp_path, fish(2), per_part=2) | {"model:armo": str(reward_model)}
    config = config_of(reward_model, 1).model_dump(mode="json")
    job = {"config": config, "inputs": inputs, "out": str(tmp_path)}
    member = score_crew.Member(Site(1), 0, work, job, patience=3)
    while not member.ready:
        assert hear([member]) == []
    os.kill(member._process.pid, signal.SIGSTOP)
    member.send(index=0, path="x" * 10_000_000, one_by_one=False)
    assert hear([member]) == [(member, None)]
    assert member.bury() == (False, "hung: silent for 3 s")


def function_config(function: str, **resources: Any) -> ScoreConfig:
    annotator = {"kind": "function", "name": "moody", "function": function}
    resources = {"workers": 1, **resources}
    return ScoreConfig.model_validate({"annotators": [annotator], "resources": resources})


def test_a_worker_that_cannot_load_its_model_is_the_users_mistake(
    reward_model: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(reward_model, broken)
    (broken / "model.safetensors").unlink()
    inputs = write_run(tmp_path, fish(4), per_part=2) | {"model:armo": str(broken)}
    out = tmp_path / "scores"
    with pytest.raises(UserError, match="broken: cannot be loaded"):
        run_once(score.STAGE, config_of(broken, 2), inputs, out)
    command = [sys.executable, "-m", "annotation.score", str(out / "_step.json")]
    ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=False)
    assert ended.returncode == 2


@pytest.fixture
def stopped_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The first worker that is given a part is stopped, as one that hangs."""
    stopped: list[int] = []
    give: Callable[..., None] = score_crew.Member.give

    def given(member: score_crew.Member, part: score_crew.Part) -> None:
        if not stopped:
            stopped.append(member._process.pid)
            os.kill(stopped[0], signal.SIGSTOP)
        give(member, part)

    monkeypatch.setattr(score_crew.Member, "give", given)
    yield stopped
    assert stopped and not psutil.pid_exists(stopped[0])


def test_a_worker_that_hangs_is_replaced_and_its_part_scored(
    reward_model: Path, tmp_path: Path, stopped_once: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    inputs = write_run(tmp_path, fish(8), per_part=2) | {"model:armo": str(reward_model)}
    config = config_of(reward_model, 1, hang_timeout=3)
    made = run_once(score.STAGE, config, inputs, tmp_path / "scores")
    assert made.rows == read_table(tmp_path / "scores").num_rows == 24
    assert "hung: silent for 3 s" in caplog.text


def test_a_part_whose_scoring_always_hangs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_rewards.py").write_text(
        "import time\n"
        "def reward(messages, text):\n"
        "    while '3' in messages[0]['content']:\n"
        "        time.sleep(1)\n"
        "    return 1.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    inputs = write_run(tmp_path, fish(6), per_part=2)
    config = function_config("slow_rewards:reward", hang_timeout=3)
    with pytest.raises(OnPolicyError, match=r"on prompt p0003 crashed .*hung: silent for 3 s"):
        run_once(score.STAGE, config, inputs, tmp_path / "scores")
    assert len(part_paths(tmp_path / "scores")) == 1


WITH_A_CHILD = """
import multiprocessing
import time
from pathlib import Path

started = []

def reward(messages, text):
    if not started:
        context = multiprocessing.get_context("spawn")
        started.append(context.Process(target=time.sleep, args=(600,), daemon=True))
        started[0].start()
        Path(__file__).with_name("child").write_text(str(started[0].pid))
    return 1.0
"""


def test_a_worker_on_a_gpu_may_start_processes_and_they_end_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parent_rewards.py").write_text(WITH_A_CHILD)
    monkeypatch.syspath_prepend(tmp_path)
    inputs = write_run(tmp_path, fish(2), per_part=2)
    config = function_config("parent_rewards:reward").model_dump(mode="json")
    job = {"config": config, "inputs": inputs, "out": str(tmp_path)}
    member = score_crew.Member(Site(1, (("0",),)), 0, work, job, patience=60)
    while not member.ready:
        assert hear([member]) == []
    member.give(score_crew.Part(0, Path(inputs["responses"]) / "part-00000.parquet"))
    while not (heard := hear([member])):
        continue
    assert heard[0][1] is not None and "scored" in heard[0][1]
    child = psutil.Process(int((tmp_path / "child").read_text()))
    assert child.is_running()
    os.kill(member._process.pid, signal.SIGKILL)
    assert hear([member]) == [(member, None)]
    assert member.bury() == (True, "killed by SIGKILL")
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
