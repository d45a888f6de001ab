"""Training over several machines, and what listens where: real launches on loopback."""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import torch
from checkout import CHECKOUT
from engine_steps import Run, run_forked
from safetensors.torch import load_file

from contracts.errors import OnPolicyError
from contracts.steps.manifest import read_manifest
from contracts.steps.step import run_once
from training import train
from training.config import TrainConfig, TrainResources
from training.launch.machines import FILE, announced

pytestmark = pytest.mark.engine

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


def config(epochs: int = 2, **resources: Any) -> TrainConfig:
    return TrainConfig(
        learning_rate=1e-3, global_batch=8, epochs=epochs,
        resources=TrainResources(**{"threads": 1, "micro_batch_tokens": 60, **resources}),
    )  # fmt: skip


def other_machine(folder: Path, rank: int = 1) -> "subprocess.Popen[str]":
    """Another machine: a launcher of its own, which knows the shared folder and its number."""
    return subprocess.Popen(
        [sys.executable, "-m", "training.launch.follow_machine", str(folder), str(rank)],
        cwd=CHECKOUT, env={**os.environ, **LOOPBACK}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_two_machines_learn_what_one_with_two_processes_learns(
    token_inputs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)
    alone, together = tmp_path / "alone", tmp_path / "together"
    run_forked([Run("alone", config(strategy="zero3", processes=2))], token_inputs, tmp_path)
    together.mkdir()
    joined = other_machine(together)
    settings = config(strategy="zero3", machines=2, main_address="127.0.0.1", checkpoint_every=2)
    manifest = run_once(train.STAGE, settings, token_inputs, together)
    output = joined.communicate(timeout=60)[0]
    assert joined.returncode == 0, output
    assert "joining" in output
    assert manifest.facts["processes"] == 2
    found, expected = (
        pq.read_table(out / "metrics.parquet")["value"].to_pylist() for out in (together, alone)
    )
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)
    found_weights, weights = (load_file(out / "model.safetensors") for out in (together, alone))
    for name, weight in weights.items():
        torch.testing.assert_close(found_weights[name], weight, atol=1e-6, rtol=1e-5)


def test_a_machine_joins_again_when_the_first_one_starts_anew(
    token_inputs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "policy"
    job = out / ".checkpoints" / "job.json"
    job.parent.mkdir(parents=True)
    settings = config(strategy="none", machines=2, main_address="127.0.0.1")
    # Machine 0 was killed: nobody is at its address, and nothing was withdrawn.
    with announced(settings.resources, job, "training.loop.worker"):
        left_behind = job.with_name(FILE).read_text()
    job.with_name(FILE).write_text(left_behind)
    joined = other_machine(out)
    time.sleep(4)
    run_once(train.STAGE, settings, token_inputs, out)
    output = joined.communicate(timeout=60)[0]
    assert joined.returncode == 0, output
    assert output.count("joining") == 2
    assert read_manifest(out)


def test_a_machine_that_dies_ends_the_training_which_then_goes_on_from_its_checkpoint(
    token_inputs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)
    resources = {"strategy": "none", "machines": 2, "main_address": "127.0.0.1"}
    settings = config(epochs=40, checkpoint_every=4, **resources)
    out = tmp_path / "policy"
    out.mkdir()
    joined = other_machine(out)
    log = out / ".checkpoints" / "metrics.jsonl"

    def kill() -> None:
        while not log.exists() or len(log.read_text().splitlines()) < 10:
            time.sleep(0.01)
        joined.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(OnPolicyError):
        run_once(train.STAGE, settings, token_inputs, out)
    killer.join()
    joined.communicate()
    done = max(int(path.name[5:]) for path in (out / ".checkpoints").glob("step-*"))
    assert 8 <= done < 120
    again = other_machine(out)
    manifest = run_once(train.STAGE, settings, token_inputs, out)
    assert again.wait(60) == 0
    again.communicate()
    assert (manifest.facts["steps"], manifest.facts["processes"]) == (120, 2)


def listening(process: psutil.Process) -> set[str]:
    """Addresses on which a process listens; none once it has ended."""
    with suppress(psutil.NoSuchProcess):
        connections = process.net_connections("inet")
        return {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    return set()


@pytest.mark.parametrize("strategy", ["zero3", "none"])  # fsdp's processes meet as none's do
def test_on_one_machine_nothing_listens_beyond_loopback(
    token_inputs: dict[str, str], tmp_path: Path, strategy: str
) -> None:
    seen: set[str] = set()
    ended = threading.Event()
    before = {child.pid for child in psutil.Process().children(recursive=True)}

    def watch() -> None:
        while not ended.wait(0.05):
            for child in psutil.Process().children(recursive=True):
                if child.pid not in before:
                    seen.update(listening(child))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        settings = config(epochs=10, strategy=strategy, processes=2)
        run_once(train.STAGE, settings, token_inputs, tmp_path / "policy")
    finally:
        ended.set()
        watcher.join()
    assert seen  # gloo's own sockets
    assert seen <= {"127.0.0.1", "::1"}
