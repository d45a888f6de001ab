"""bfloat16 under every strategy and layout: two steps of each, by processes forked from one."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from engine_steps import Run, run_forked
from safetensors.torch import load_file

from training.config import LoraConfig, TrainConfig, TrainResources
from training.loop.data import read_pairs
from training.loop.policy import load_policy
from training.loop.schedule import Schedule, micro_batches
from training.losses.base import pair_losses
from training.packed.logprobs import PairScorer, as_pairs
from training.packed.packing import Layout, make_batch

pytestmark = pytest.mark.engine

ADAPTERS = LoraConfig(rank=4, alpha=8)


def config(strategy: str, processes: int, layout: Layout = "packed", **changes: Any) -> TrainConfig:
    """Two steps of 11 pairs in several passes each; nothing is clipped."""
    return TrainConfig(**{
        "learning_rate": 5e-6, "schedule": "constant", "warmup_ratio": 0.0, "global_batch": 11,
        "max_grad_norm": 1e9, "dtype": "bfloat16",
        "resources": TrainResources(
            strategy=strategy, processes=processes, threads=1, micro_batch_tokens=60,
            checkpoint_every=1, layout=layout,
        ), **changes,
    })  # fmt: skip


JOBS = {
    "float32": config("none", 1, dtype="float32"),
    "none": config("none", 1),
    "zero2": config("zero2", 2),
    "zero3": config("zero3", 2),
    "fsdp": config("fsdp", 2),
    "none with adapters": config("none", 1, lora=ADAPTERS),
    "zero3 with adapters": config("zero3", 2, lora=ADAPTERS),
    "fsdp with adapters": config("fsdp", 2, lora=ADAPTERS),
}
STRATEGIES = {"none": 1, "zero2": 2, "zero3": 2, "fsdp": 2}
LAYOUTS: tuple[Layout, ...] = ("shared", "separate")
JOBS |= {
    f"{strategy}, {layout}": config(strategy, processes, layout)
    for strategy, processes in STRATEGIES.items()
    for layout in LAYOUTS
}
QUANTIZED = "none with adapters beside 4 bits"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, token_inputs: dict[str, str]) -> Path:
    """A folder for each of JOBS, with the checkpoint after its first step."""
    folder, jobs = tmp_path_factory.mktemp("bfloat16"), dict(JOBS)
    try:
        import bitsandbytes  # noqa: F401

        nf4 = ADAPTERS.model_copy(update={"quantize": "nf4"})
        jobs[QUANTIZED] = config("none", 1, lora=nf4)
    except ImportError:
        pass
    run_forked([Run(name, job) for name, job in jobs.items()], token_inputs, folder)
    return folder


def values(out: Path, name: str) -> list[float]:
    rows = pq.read_table(out / "metrics.parquet").to_pylist()
    return [row["value"] for row in rows if row["name"] == name]


def state(out: Path) -> dict[str, torch.Tensor]:
    """The checkpoint after the first step."""
    held: dict[str, torch.Tensor] = {}
    for path in (out / ".checkpoints" / "step-00000001").glob("state-*.safetensors"):
        held |= load_file(path)
    return held


@pytest.mark.parametrize("job", [name for name in JOBS if name != "float32"])
def test_a_strategy_in_bfloat16_has_float32s_losses(trained: Path, job: str) -> None:
    """bfloat16 knows a log-prob a token to 2**-9, and SimPO's loss is beta, 10, times one. RoPE in
    bfloat16 would hide in that at positions below 20: the split engines must agree closely."""
    exact = values(trained / "float32", "loss")
    assert values(trained / job, "loss") == pytest.approx(exact, abs=10 * 2**-9)
    split = values(trained / "fsdp", "loss")[0]
    if "none" not in job and "," not in job:  # another layout adds up in another order
        assert values(trained / job, "loss")[0] == pytest.approx(split, rel=1e-6)


def summed_in_float32(inputs: dict[str, str]) -> dict[str, torch.Tensor]:
    """The first step's gradient: of each pass in bfloat16, added up in float32."""
    settings, pairs = JOBS["fsdp"], read_pairs(Path(inputs["tokens"]))
    policy = load_policy(inputs["policy"], settings.resources, torch.bfloat16)
    scorer = PairScorer(policy, 1 << 20)
    batch = Schedule(settings, len(pairs)).batch(0)
    lengths = [pairs[index].length for index in batch]
    total = {name: torch.zeros(p.shape) for name, p in scorer.named_parameters()}
    for passes in micro_batches(lengths, 2, 60, padded=False):
        for places in passes:
            laid_out = make_batch([pairs[batch[place]] for place in places], "packed")
            losses = pair_losses(settings.loss, as_pairs(*scorer(laid_out))).loss
            scorer.zero_grad()
            (losses.sum() * 2 / len(batch)).backward()
            for name, parameter in scorer.named_parameters():
                total[name] += parameter.grad.float() / 2
    return total


@pytest.mark.parametrize("strategy", ["zero2", "zero3", "fsdp"])
def test_gradients_of_passes_and_processes_add_up_in_float32(
    trained: Path, token_inputs: dict[str, str], strategy: str
) -> None:
    held = state(trained / strategy)
    for name, expected in summed_in_float32(token_inputs).items():
        found = held[f"exp_avg/{name}"] / (1 - 0.9)  # Adam's average after one step
        error = float((found - expected).norm() / expected.norm())
        print(f"{strategy} {name}: {error:.1e}")
        assert error < 1e-5


@pytest.mark.parametrize("strategy", ["zero2", "zero3", "fsdp"])
def test_each_process_writes_its_share_of_a_checkpoint(trained: Path, strategy: str) -> None:
    files = (trained / strategy / ".checkpoints" / "step-00000001").iterdir()
    assert sorted(path.name[:11] for path in files) == ["state-00000", "state-00001"]


ADAPTED = [*(name for name in JOBS if "adapters" in name), QUANTIZED]


@pytest.mark.parametrize("job", ADAPTED)
def test_a_step_at_5e_6_moves_nearly_every_element_of_an_adapter(trained: Path, job: str) -> None:
    """A's gradient is 0 in the first step, for B starts at 0: the second one moves it."""
    if not (trained / job).exists():
        pytest.skip("bitsandbytes is not installed")
    after = load_file(trained / job / "adapter" / "adapter_model.safetensors")
    before = {
        name.removeprefix("weight/policy.").replace(".default.", "."): value
        for name, value in state(trained / job).items()
        if name.startswith("weight/") and "lora_A" in name
    }
    moved = [after[f"base_model.model.{name}"] != value for name, value in before.items()]
    share = float(torch.cat([part.flatten() for part in moved]).float().mean())
    print(f"{job}: {share:.1%} of A's elements moved")
    assert {value.dtype for value in after.values()} == {torch.float32}
    assert len(moved) == 2 * 7
    assert share > 0.95
