"""On a CUDA device: every strategy through the real stage, in bfloat16, one process.

tests/flow/training/test_bfloat16.py holds two processes on a CPU to the same.
"""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from contracts.steps.step import run_once
from training import train
from training.config import LoraConfig, TrainConfig, TrainResources

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

# bfloat16 knows a log-prob a token to 2**-9, and SimPO's loss is beta, 10, times one.
ROUNDING = 10 * 2**-9
ADAPTERS = LoraConfig(rank=4, alpha=8)


def config(strategy: str, **changes: Any) -> TrainConfig:
    resources = TrainResources(strategy=strategy, micro_batch_tokens=128, threads=1)
    return TrainConfig(**{
        "learning_rate": 5e-6, "schedule": "constant", "warmup_ratio": 0.0, "global_batch": 11,
        "dtype": "bfloat16", "resources": resources, **changes,
    })  # fmt: skip


def losses(settings: TrainConfig, inputs: dict[str, str], out: Path) -> list[float]:
    run_once(train.STAGE, settings, inputs, out)
    rows = pq.read_table(out / "metrics.parquet").to_pylist()
    return [row["value"] for row in rows if row["name"] == "loss"]


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory, token_inputs: dict[str, str]) -> list[float]:
    """The losses in float32."""
    settings = config("none", dtype="float32")
    return losses(settings, token_inputs, tmp_path_factory.mktemp("float32") / "policy")


@pytest.mark.parametrize("lora", [None, ADAPTERS], ids=["whole", "adapters"])
@pytest.mark.parametrize("strategy", ["none", "fsdp", "zero2", "zero3"])
def test_a_strategy_in_bfloat16_has_float32s_losses(
    exact: list[float], token_inputs: dict[str, str], tmp_path: Path, strategy: str,
    lora: LoraConfig | None,
) -> None:  # fmt: skip
    if strategy.startswith("zero"):
        pytest.importorskip("deepspeed")
    found = losses(config(strategy, lora=lora), token_inputs, tmp_path / "policy")
    assert found == pytest.approx(exact, abs=ROUNDING)


@pytest.mark.parametrize("attention", ["segments", "flex", "eager"])
def test_every_attention_has_float32s_losses(
    exact: list[float], token_inputs: dict[str, str], tmp_path: Path, attention: str
) -> None:
    resources = config("none").resources.model_copy(
        update={"attention": attention, "gradient_checkpointing": True}
    )
    found = losses(config("none", resources=resources), token_inputs, tmp_path / "policy")
    assert found == pytest.approx(exact, abs=ROUNDING)


def test_adapters_beside_4_bit_weights_learn_in_float32(
    exact: list[float], token_inputs: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    lora = ADAPTERS.model_copy(update={"quantize": "nf4"})
    settings = config("none", lora=lora, learning_rate=1e-3, epochs=4, global_batch=8)
    found = losses(settings, token_inputs, tmp_path / "policy")
    assert found[0] == pytest.approx(exact[0], abs=1)
    assert found[-1] < 0.8 * found[0]
    adapter = load_file(tmp_path / "policy" / "adapter" / "adapter_model.safetensors")
    assert {value.dtype for value in adapter.values()} == {torch.float32}
