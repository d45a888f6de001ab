"""Training as it is launched: real processes through accelerate and DeepSpeed, killed, resumed."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from engine_steps import Run, run_forked
from killed_training import kill_after_step, resumed_from, start
from safetensors.torch import load_file

from contracts.errors import OnPolicyError, UserError
from contracts.steps.fingerprint import of_files
from contracts.steps.manifest import Manifest, read_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import read_table
from runtime.progress import parse_progress
from training import reference, train
from training.config import LoraConfig, ReferenceConfig, TrainConfig, TrainResources
from training.loop.worker import TRAINED
from training.losses.with_reference.dpo import DPOConfig

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def inputs(token_inputs: dict[str, str]) -> dict[str, str]:
    """22 pairs of uneven lengths: batches of 8, and a last one of 6."""
    return token_inputs


def config(epochs: int = 2, **resources: Any) -> TrainConfig:
    return TrainConfig(
        learning_rate=1e-3, global_batch=8, epochs=epochs,
        resources=TrainResources(**{"threads": 1, "micro_batch_tokens": 60, **resources}),
    )  # fmt: skip


def decayed(epochs: int, **resources: Any) -> TrainConfig:
    """With two groups of weights in AdamW: matrices, and the others."""
    return config(epochs, **resources).model_copy(update={"weight_decay": 0.1})


def adapted(**resources: Any) -> TrainConfig:
    return config(**resources).model_copy(update={"lora": LoraConfig(rank=4, alpha=8)})


def metrics(out: Path) -> list[float]:
    return pq.read_table(out / "metrics.parquet")["value"].to_pylist()


JOBS = {
    "none": config(strategy="none"),
    "zero2": config(strategy="zero2", processes=2),
    "zero3": config(strategy="zero3", processes=2),
    "fsdp, recomputed": config(strategy="fsdp", processes=2, gradient_checkpointing=True),
    "zero3, offloaded, recomputed": config(
        strategy="zero3", processes=2, offload="parameters", gradient_checkpointing=True
    ),
    "none with adapters": adapted(strategy="none"),
    "zero3 with adapters": adapted(strategy="zero3", processes=2, gradient_checkpointing=True),
    "fsdp with adapters": adapted(strategy="fsdp", processes=2, gradient_checkpointing=True),
    "none, long": decayed(epochs=16, strategy="none"),
}
# Each goes on from the checkpoint of the one before, which was killed after so many of 48 steps.
MOVES = [
    (6, {"strategy": "none", "processes": 1}),
    (12, {"strategy": "zero3", "processes": 2}),
    (18, {"strategy": "zero2", "processes": 3}),
    (24, {"strategy": "zero2", "processes": 2, "offload": "optimizer"}),
    (30, {"strategy": "zero3", "processes": 3}),
    (36, {"strategy": "fsdp", "processes": 3}),
    (None, {"strategy": "none", "processes": 1}),
]


# Rounds of one epoch each, and the strategy of each; the state goes from one to the next.
ROUNDS = {
    "rounds": [("zero3", 2), ("fsdp", 2), ("zero2", 2), ("none", 2), ("none", 1)],
    "rounds of adapters": [("fsdp", 2), ("zero3", 2), ("none", 2)],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, str]) -> Path:
    """A folder for each of JOBS."""
    folder = tmp_path_factory.mktemp("engines")
    run_forked([Run(name, job) for name, job in JOBS.items()], inputs, folder)
    return folder


def assert_same_policy(found: Path, expected: Path, **tolerance: float) -> None:
    weights, others = (load_file(folder / "model.safetensors") for folder in (found, expected))
    assert weights.keys() == others.keys()
    for name, weight in others.items():
        torch.testing.assert_close(weights[name], weight, **tolerance)


@pytest.mark.parametrize("job", [name for name, job in JOBS.items() if job.resources.processes > 1])
def test_two_processes_learn_what_one_plain_process_learns(trained: Path, job: str) -> None:
    facts = json.loads((trained / job / TRAINED).read_text())
    engines = {"zero3": ("DeepSpeedEngine", 3), "zero2": ("DeepSpeedEngine", 2)}
    engine = engines.get(JOBS[job].resources.strategy, ("FSDPPairScorer", 0))
    assert (facts["engine"], facts["zero_stage"]) == engine
    assert (facts["processes"], facts["steps"]) == (2, 6)
    plain = trained / ("none with adapters" if JOBS[job].lora else "none")
    assert metrics(trained / job) == pytest.approx(metrics(plain), rel=1e-4, abs=1e-4)
    assert_same_policy(trained / job, plain, atol=1e-5, rtol=1e-4)


def test_a_killed_training_goes_on_with_other_processes_to_the_same_losses(
    trained: Path, inputs: dict[str, str], tmp_path: Path
) -> None:
    runs = [
        Run("moved", decayed(epochs=16, checkpoint_every=2, **resources), killed_after)
        for killed_after, resources in MOVES
    ]
    printed = run_forked(runs, inputs, tmp_path)
    readings = [reading for line in printed.splitlines() if (reading := parse_progress(line))]
    resumed = list(dict.fromkeys(reading.resumed for reading in readings))
    assert len(resumed) == len(MOVES), resumed  # each began where the one before had come to
    assert resumed == sorted(resumed)
    expected = trained / "none, long"
    assert metrics(tmp_path / "moved") == pytest.approx(metrics(expected), rel=2e-3, abs=2e-3)
    assert_same_policy(tmp_path / "moved", expected, atol=1e-3, rtol=1e-3)


def in_rounds(name: str, adapters: bool, world: list[tuple[str, int]]) -> list[Run]:
    make = adapted if adapters else config
    carries = {"epochs": 1, "carry_optimizer": True, "schedule_rounds": len(world) + 1}
    return [
        Run(
            f"{name}-{number}",
            make(strategy=strategy, processes=processes).model_copy(
                update={**carries, "schedule_round": number, "seed": number}
            ),
            after=f"{name}-{number - 1}" if number > 1 else None,
        )
        for number, (strategy, processes) in enumerate(world, start=1)
    ]


def test_rounds_under_any_strategies_go_on_with_one_optimizer(
    inputs: dict[str, str], tmp_path: Path
) -> None:
    """Against the same rounds of one plain process, whose bytes are those of one long training
    (tests/unit/training/test_carried.py)."""
    pairs = []
    runs = []
    for kind, world in ROUNDS.items():
        moved = in_rounds(f"moved {kind}", "adapters" in kind, world)
        plain = in_rounds(f"plain {kind}", "adapters" in kind, [("none", 1)] * len(world))
        runs += [*moved, *plain]
        pairs += [(tmp_path / a.name, tmp_path / b.name) for a, b in zip(moved, plain, strict=True)]
    run_forked(runs, inputs, tmp_path)
    for found, expected in pairs:
        assert metrics(found) == pytest.approx(metrics(expected), rel=2e-3, abs=2e-3)
        assert_same_policy(found, expected, atol=1e-4, rtol=1e-3)


def test_two_processes_score_the_reference_whole_or_split_and_dpo_learns_from_it(
    inputs: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "reference"
    scoring = {"tokens": inputs["tokens"], "policy": inputs["policy"]}
    settings = ReferenceConfig(resources=TrainResources(processes=2, threads=1))
    scored = run_once(reference.STAGE, settings, scoring, folder)
    assert scored.rows == 22
    split = settings.model_copy(update={"resources": TrainResources(
        strategy="fsdp", processes=2, threads=1, micro_batch_tokens=60
    )})  # fmt: skip
    run_once(reference.STAGE, split, scoring, tmp_path / "split")
    whole, other = (read_table(out) for out in (folder, tmp_path / "split"))
    for name in whole.column_names:
        found, expected = other[name].to_pylist(), whole[name].to_pylist()
        numbers = name.endswith("_logp")
        assert found == (pytest.approx(expected, rel=1e-5) if numbers else expected)
    training = config(strategy="zero3", processes=2).model_copy(update={"loss": DPOConfig()})
    out = tmp_path / "policy"
    run_once(train.STAGE, training, {**inputs, "reference": str(folder)}, out)
    table = pq.read_table(out / "metrics.parquet").to_pylist()
    losses = [row["value"] for row in table if row["name"] == "loss"]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(("resources", "kills"), [
    ({"strategy": "none"}, (14,)),
    ({"strategy": "zero3", "processes": 2}, (14,)),
    ({"strategy": "fsdp", "processes": 2}, (14,)),
], ids=str)  # fmt: skip
def test_a_killed_training_goes_on_to_the_same_bytes(
    inputs: dict[str, str], tmp_path: Path, resources: dict[str, Any], kills: tuple[int, ...]
) -> None:
    settings = config(epochs=15, checkpoint_every=4, **resources)
    run_forked([Run("whole", settings)], inputs, tmp_path)
    out = tmp_path / "killed"
    for steps in kills:
        kill_after_step(start(settings, inputs, out), out, steps)
        assert read_manifest(out) is None
        assert list((out / ".checkpoints").glob("step-*"))
    process = start(settings, inputs, out)
    output = process.stdout.read() if process.stdout else ""
    process.wait()
    resumed = read_manifest(out)
    assert isinstance(resumed, Manifest), output
    assert resumed_from(output) > 0  # it went on, it did not begin again
    whole = of_files(tmp_path / "whole")
    assert {name: whole[name] for name in resumed.files} == resumed.files
    assert not (out / ".checkpoints").exists()


def test_a_worker_that_refuses_gives_its_own_message(
    inputs: dict[str, str], tmp_path: Path
) -> None:
    settings = config(strategy="none", attention="sdpa")
    with pytest.raises(UserError) as error:
        run_once(train.STAGE, settings, inputs, tmp_path / "policy")
    assert str(error.value).startswith("resources.attention: this model soft-caps")
    assert read_manifest(tmp_path / "policy") is None


def test_a_worker_that_fails_is_a_failure_with_its_own_message(
    inputs: dict[str, str], tmp_path: Path
) -> None:
    settings = config(strategy="none").model_copy(
        update={"learning_rate": 1e30, "warmup_ratio": 0.0}
    )
    with pytest.raises(OnPolicyError, match=r"step 2: the gradient's norm is (nan|inf)") as error:
        run_once(train.STAGE, settings, inputs, tmp_path / "policy")
    assert error.value.exit_code == 1
