"""QLoRA for real: NF4 weights under bitsandbytes on the CPU."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from contracts.config.base import check
from contracts.errors import UserError
from contracts.steps.step import run_once
from training import train
from training.adapters import qlora
from training.adapters.merge import merge
from training.config import LoraConfig, TrainConfig, TrainResources

pytestmark = pytest.mark.engine


def config(lora: dict[str, Any], **resources: Any) -> TrainConfig:
    return TrainConfig(
        learning_rate=1e-3, global_batch=8, epochs=2, warmup_ratio=0.0,
        lora=LoraConfig(rank=4, alpha=8, **lora),
        resources=TrainResources(
            strategy="none", threads=1, micro_batch_tokens=60, checkpoint_every=2, **resources
        ),
    )  # fmt: skip


def values(out: Path, name: str) -> list[float]:
    table = pq.read_table(out / "metrics.parquet").to_pylist()
    return [row["value"] for row in table if row["name"] == name]


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory, token_inputs: dict[str, str]) -> Path:
    """A policy that one process trained beside 4-bit weights."""
    pytest.importorskip("bitsandbytes")
    out = tmp_path_factory.mktemp("quantized") / "policy"
    run_once(train.STAGE, config({"quantize": "nf4"}), token_inputs, out)
    return out


def test_adapters_beside_4_bit_weights_learn(
    quantized: Path, token_inputs: dict[str, str], tmp_path: Path
) -> None:
    run_once(train.STAGE, config({}), token_inputs, tmp_path / "whole")
    assert values(quantized, "loss")[-1] < 0.8 * values(quantized, "loss")[0]
    # It is not the policy's own log-prob that is compared at the start, but the 4-bit one's.
    first, whole = (values(out, "logps/chosen")[0] for out in (quantized, tmp_path / "whole"))
    assert 1e-4 < abs(first - whole) < 0.1


def test_the_adapter_is_merged_into_the_weights_as_they_were(
    quantized: Path, tiny_gemma: Path, tmp_path: Path
) -> None:
    merge(quantized / "adapter", tmp_path / "merged", str(tiny_gemma))
    found, expected, start = (
        load_file(folder / "model.safetensors")
        for folder in (quantized, tmp_path / "merged", tiny_gemma)
    )
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=1e-6, rtol=1e-5)
        assert torch.equal(found[name], start[name]) != name.endswith("proj.weight")
    assert "quantization_config" not in (quantized / "config.json").read_text()


def test_two_processes_beside_4_bit_weights_learn_what_one_learns(
    quantized: Path, token_inputs: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "policy"
    run_once(train.STAGE, config({"quantize": "nf4"}, processes=2), token_inputs, out)
    assert values(out, "loss") == pytest.approx(values(quantized, "loss"), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("strategy", ["zero2", "zero3", "fsdp"])
def test_what_cannot_split_4_bit_weights_is_refused_with_the_config(strategy: str) -> None:
    asked = {"lora": {"quantize": "nf4"}, "resources": {"strategy": strategy}}
    with pytest.raises(UserError, match=r"lora\.quantize needs resources\.strategy `none`"):
        check(TrainConfig, asked, "my.yaml")


def test_without_bitsandbytes_the_stage_says_what_to_install(
    token_inputs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qlora, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="needs bitsandbytes, which is not installed"):
        run_once(train.STAGE, config({"quantize": "nf4"}), token_inputs, tmp_path / "policy")
