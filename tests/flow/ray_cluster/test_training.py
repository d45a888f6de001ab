"""Training on a real Ray cluster of two nodes: it learns there what it learns here, whatever is
killed meanwhile."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made_facts import made_facts
from safetensors.torch import load_file
from two_nodes import TwoNodes, actors, seen_here_alone

from contracts.errors import UserError
from contracts.steps.fingerprint import of_input
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import write_part
from contracts.tables.schemas import TOKENS
from training import train
from training.config import TrainConfig, TrainResources

pytestmark = pytest.mark.engine

KILLS = 6
# Nodes take 10 s to start here.
NODE_KILLS = 2
STEPS = 300
FIRST_KILL = 20


def learn(inputs: dict[str, str], out: Path, **resources: Any) -> Manifest:
    """As two processes with half of the weights each."""
    settings = TrainConfig(
        learning_rate=5e-5, global_batch=8, epochs=STEPS // 3,
        resources=TrainResources(**{
            "strategy": "zero3", "processes": 2, "threads": 1, "micro_batch_tokens": 60,
            "checkpoint_every": 4, **resources,
        }),
    )  # fmt: skip
    return run_once(train.STAGE, settings, inputs, out)


def losses(out: Path) -> list[float]:
    """The loss of each step."""
    rows = pq.read_table(out / "metrics.parquet").to_pylist()
    return [row["value"] for row in rows if row["name"] == "loss"]


def read(path: Path) -> str:
    """A file that may go meanwhile."""
    with suppress(FileNotFoundError):
        return path.read_text()
    return ""


class Killer(threading.Thread):
    """Kills whole nodes first, then the processes' actors, at seeded steps."""

    def __init__(self, cluster: TwoNodes, log: Path, seed: int) -> None:
        super().__init__(daemon=True)
        self.left = KILLS
        self._cluster, self._log = cluster, log
        self._random = Random(seed)

    def run(self) -> None:
        for step in sorted(self._random.sample(range(FIRST_KILL, STEPS // 2), KILLS)):
            self._await(step)
            if self.left == KILLS:
                # The other node goes on alone until this one is back.
                self._cluster.replace(self._random.randrange(2), self._await_one_alone)
            elif self.left > KILLS - NODE_KILLS:
                self._cluster.replace(self._random.randrange(2))
            else:
                while not (hosts := actors("Host")):
                    time.sleep(0.05)
                with suppress(ProcessLookupError):
                    os.kill(self._random.choice(hosts).pid, signal.SIGKILL)
            self.left -= 1

    def _await_one_alone(self) -> None:
        jobs = self._log.parents[1]
        while not any('"processes": 1,' in read(job) for job in jobs.glob(".tmp-job-*")):
            time.sleep(0.05)

    def _await(self, step: int) -> None:
        while not self._log.exists() or len(self._log.read_text().splitlines()) < step:
            time.sleep(0.01)


def test_two_nodes_learn_what_two_processes_of_one_machine_learn_whatever_is_killed(
    cluster: TwoNodes,
    token_inputs: dict[str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    here, spread = tmp_path / "here", tmp_path / "spread"
    learn(token_inputs, here)
    killer = Killer(cluster, spread / ".checkpoints" / "metrics.jsonl", seed=0)
    killer.start()
    started = time.monotonic()
    with seen_here_alone(Path(token_inputs["policy"])) as policy:
        fetched = token_inputs | {"policy": policy}
        made = learn(fetched, spread, **cluster.with_store(tmp_path / "store"))
    killer.join(60)
    printed = capfd.readouterr().out
    with capfd.disabled():
        apart = max(abs(a - b) / b for a, b in zip(losses(spread), losses(here), strict=True))
        print(f"{KILLS} kills, {NODE_KILLS} of nodes, {time.monotonic() - started:.0f} s; "
              f"losses differ by {apart:.1e} of themselves at most")  # fmt: skip
    assert (killer.left, made.facts["steps"], len(losses(here))) == (0, STEPS, STEPS)
    assert losses(spread)[:FIRST_KILL] == losses(here)[:FIRST_KILL]
    # With the node that remained, and with two once more.
    assert "DeepSpeedEngine: 1 processes" in printed
    assert "DeepSpeedEngine: 2 processes" in printed.rpartition("DeepSpeedEngine: 1 processes")[2]
    assert losses(spread) == pytest.approx(losses(here), rel=1e-4)
    weights, known = (load_file(out / "model.safetensors") for out in (spread, here))
    for name, weight in known.items():
        torch.testing.assert_close(weights[name], weight, atol=1e-5, rtol=1e-4)


@pytest.fixture
def long_inputs(token_inputs: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Pairs of which one is longer than the policy's context."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    rows = pq.read_table(token_inputs["tokens"]).to_pylist()
    rows[0]["prompt_ids"] = [10] * 600
    write_part(folder, 0, pa.Table.from_pylist(rows, schema=TOKENS), TOKENS)
    facts = {"formatted_for": of_input(token_inputs["policy"])}
    write_manifest(folder, "training.format", Result(len(rows), facts=made_facts(facts)), 0.0)
    return {**token_inputs, "tokens": str(folder)}


def test_a_mistake_that_a_process_on_a_node_finds_is_told_in_its_own_words(
    cluster: TwoNodes,
    long_inputs: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = Path(long_inputs["policy"])
    monkeypatch.chdir(policy.parent)  # a model may be named from where the run was started
    with pytest.raises(UserError, match=r"pair p0: .* do not fit the model's context of 512"):
        learn(
            long_inputs | {"policy": f"./{policy.name}"}, tmp_path / "policy", **cluster.resources
        )
    assert not [*(tmp_path / "policy").glob(".tmp-*")]
