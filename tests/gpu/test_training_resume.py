"""On a CUDA device: a training that is killed goes on to what it would have learned.

tests/flow/training/test_engines.py holds a CPU to the same bytes; on a GPU sums have no fixed
order, so the losses are compared.
"""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from killed_training import kill_after_step, resumed_from, start

from contracts.steps.manifest import read_manifest
from contracts.steps.step import run_once
from training import train
from training.config import TrainConfig, TrainResources

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("strategy", ["none", "fsdp", "zero3"])
def test_a_killed_training_goes_on_to_the_same_losses(
    token_inputs: dict[str, str], tmp_path: Path, strategy: str
) -> None:
    if strategy.startswith("zero"):
        pytest.importorskip("deepspeed")
    resources = TrainResources(
        strategy=strategy, micro_batch_tokens=128, threads=1, checkpoint_every=4
    )
    settings = TrainConfig(learning_rate=1e-4, global_batch=8, epochs=15, resources=resources)
    run_once(train.STAGE, settings, token_inputs, tmp_path / "whole")
    killed = tmp_path / "killed"
    kill_after_step(start(settings, token_inputs, killed), killed, 14)
    assert read_manifest(killed) is None and list((killed / ".checkpoints").glob("step-*"))
    process = start(settings, token_inputs, killed)
    printed = process.stdout.read() if process.stdout else ""
    assert process.wait() == 0, printed
    assert resumed_from(printed) >= 12
    whole, found = (pq.read_table(out / "metrics.parquet") for out in (tmp_path / "whole", killed))
    assert found["name"].to_pylist() == whole["name"].to_pylist()
    assert found["value"].to_pylist() == pytest.approx(
        whole["value"].to_pylist(), rel=2e-2, abs=2e-2
    )
