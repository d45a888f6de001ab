"""The memory and the room on the disk that a run takes, told before anything is begun."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.shapes import PUBLISHED
from contracts.errors import UserError
from flows.forecast import memory, stages
from flows.forecast.memory import Model, Pass
from flows.forecast.plan import forecast
from flows.forecast.text import as_text
from flows.pipeline.config import RunConfig

GEMMA = PUBLISHED["gemma-2-9b"].settings


def test_sixteen_bytes_a_weight_are_split_by_zero_3_and_only_weights_stay_whole_in_none() -> None:
    model = Model.read(GEMMA)
    assert model
    one = Pass(tokens=8192, answers=6000, width=2, logits=256 << 20, on_gpu=True)
    whole = memory.training(model, one, passes=4, checkpointing=True)
    split = memory.training(model, one, passes=4, processes=8, strategy="zero3", checkpointing=True)
    assert whole.gradients == 4 * model.parameters and whole.optimizer == 8 * model.parameters
    states = split.weights + split.gradients + split.optimizer
    assert states == pytest.approx((2 + 4 + 12) * model.parameters / 8, rel=0.01)


def test_fsdps_masters_are_its_weights_and_lora_adds_to_a_whole_base() -> None:
    model = Model.read(GEMMA)
    assert model
    one = Pass(tokens=8192, answers=6000, width=2, logits=256 << 20, on_gpu=True)
    split = memory.training(model, one, passes=4, processes=8, strategy="fsdp", checkpointing=True)
    states = split.weights + split.gradients + split.optimizer
    assert states == pytest.approx((4 + 4 + 8) * model.parameters / 8, rel=0.01)
    zero = memory.training(model, one, passes=4, processes=8, strategy="zero3", checkpointing=True)
    assert split.activations == zero.activations  # both gather layers
    adapted = memory.training(model, one, passes=4, trained=1_000_000)
    assert adapted.weights == 2 * model.parameters + (4 + 2) * 1_000_000


def test_the_machines_own_memory_holds_what_loading_offloading_or_writing_takes() -> None:
    model = Model.read(GEMMA)
    assert model
    on_gpu = Pass(tokens=8192, answers=6000, width=2, logits=256 << 20, on_gpu=True)

    def of(one: Pass = on_gpu, **settings: Any) -> float:
        taken = memory.training(model, one, passes=4, processes=8, **settings)
        return taken.host / model.parameters

    assert of(strategy="none") == 8 * 4 and of(strategy="zero2") == 8 * 2
    assert of(strategy="fsdp") == 4 + 2  # rank 0's, beside the policy in bfloat16
    assert of(strategy="zero3") == 2
    assert of(strategy="zero3", offload="optimizer") == pytest.approx(2 + 12)
    assert of(strategy="none", in_4_bits=True, trained=0) == 2
    assert of(replace(on_gpu, on_gpu=False), strategy="fsdp") == 0  # the processes' own
    split = memory.inference(model, on_gpu, processes=8, sharing=8)
    assert memory.inference(model, on_gpu, processes=8).host == 8 * split.host


def test_a_plan_for_gpus_tells_the_machines_own_memory(
    settings: Callable[..., RunConfig],
) -> None:
    assert "of the machine's own memory" in as_text(forecast(settings(), rates={}, device="cuda"))
    assert "own memory" not in as_text(forecast(settings(), rates={}, device="cpu"))


def test_a_base_in_4_bits_keeps_its_embedding_and_norms_in_two_bytes_a_weight() -> None:
    model = Model.read(GEMMA)
    assert model
    one = Pass(tokens=8192, answers=6000, width=2, logits=256 << 20, on_gpu=True)
    held = memory.training(model, one, passes=4, trained=0, in_4_bits=True).weights
    linear = 42 * (3584 * 2 * (4096 + 2048) + 3 * 3584 * 14_336)
    rest = 3584 * 256_000 + 3584 * (4 * 42 + 1)
    # 4 bits, a byte for 64 of them and four bytes for 64 times 256.
    assert held == 2 * rest + round(linear * (4 + 8 / 64 + 32 / 16_384) / 8)


def test_a_process_holds_its_share_of_a_global_batch(settings: Callable[..., RunConfig]) -> None:
    def activations(processes: int, batch: int) -> int:
        resources = {"processes": processes, "strategy": "none"}
        training = {"global_batch": batch, "resources": resources}
        told = forecast(settings(training=training), rates={}, prompt=100, answer=100)
        (policy,) = (stage.memory for stage in told.stages if stage.path == "round-1/policy")
        assert policy
        return policy.activations + policy.gradients

    assert activations(8, 8) == activations(1, 1) < activations(1, 8)


def test_a_tables_bytes_are_those_of_its_columns_and_of_tokens_that_the_format_leaves(
    settings: Callable[..., RunConfig],
) -> None:
    told = forecast(settings(), rates={}, prompt=3000, answer=4096)
    disk = {stage.path: stage.disk for stage in told.stages}
    assert disk["round-1/responses"] == pytest.approx(40 * 2 * 4 * 4096, rel=0.01)
    scores, tokens = disk["round-1/scores"], disk["round-1/tokens"]
    assert scores and scores < 40 * 300
    assert tokens == pytest.approx(10 * 4 * (1800 + 2 * 248), rel=0.02)
    lengths = {stage.path: stage.tokens for stage in told.stages}
    assert lengths["round-1/policy"] == 10 * (1800 + 2 * 248)
    again, scored = disk["round-1/evaluation/responses"], lengths["round-1/evaluation/scores"]
    assert again == pytest.approx(4 * 2 * 4 * 4096, rel=0.01)  # drawn from what was trained on less
    assert scored == 4 * (3000 + 4096)


def test_a_gpus_kv_cache_fills_the_share_that_vllm_is_given(
    settings: Callable[..., RunConfig],
) -> None:
    def sampled(gpu: float | None, kv_cache: str = "auto", parallel: int = 1) -> memory.Memory:
        resources = {"tensor_parallel": parallel}
        engine = {"kind": "vllm", "kv_cache": kv_cache, "resources": resources}
        sampling = {"n": 5, "max_tokens": 4096, "engine": engine}
        told = forecast(settings(sampling=sampling), rates={}, device="cuda", gpu_gib=gpu)
        (taken,) = (stage.memory for stage in told.stages if stage.path == "round-1/responses")
        assert taken and taken.says in as_text(told)
        return taken

    one = 2 * 42 * 8 * 256 * 2 * (256 + 4096)
    assert sampled(None).kv_cache == one and sampled(None, "fp8").kv_cache == one / 2
    assert sampled(None, parallel=4).kv_cache == one / 4
    assert sampled(None, parallel=16).kv_cache == one / 8  # it has 8 key heads, and no half ones
    whole = sampled(80)
    assert whole.total == int(0.9 * 80 * (1 << 30))
    assert f"0.9 of the GPU; room for {whole.kv_cache // one} samples at once" in whole.says
    assert "not one sample fits" in sampled(16).says


def test_a_gpus_memory_makes_it_a_plan_for_gpus(settings: Callable[..., RunConfig]) -> None:
    told = forecast(settings(), rates={}, gpu_gib=80)
    assert (
        told.device == "cuda"
        and told.stages == forecast(settings(), rates={}, device="cuda", gpu_gib=80).stages
    )
    with pytest.raises(UserError, match="--gpu-gib is the memory of a GPU"):
        forecast(settings(), rates={}, device="cpu", gpu_gib=80)


def test_a_stage_that_a_gpu_has_no_room_for_is_told(settings: Callable[..., RunConfig]) -> None:
    engine = {"kind": "vllm", "resources": {"gpu_memory_utilization": 0.5}}
    config = settings(sampling={"n": 5, "max_tokens": 64, "engine": engine})
    small, large = (forecast(config, rates={}, gpu_gib=gib) for gib in (24, 800))
    memories = {stage.path: stage.memory for stage in small.stages}
    trained, sampled = memories["round-1/policy"], memories["round-1/responses"]
    assert trained and not trained.fits and sampled and not sampled.fits
    text = " ".join(as_text(small).split())
    assert "Mind that policy does not fit: it takes" in text and "and may take 24.0 GiB" in text
    assert "Mind that responses does not fit: it takes" in text and "may take 12.0 GiB" in text
    assert not [note for note in large.notes if "does not fit" in note]


def test_a_hub_models_config_alone_is_enough_for_its_memory(
    settings: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    reward = {"kind": "classifier", "name": "rm", "path": "owner/absent"}
    config = settings(
        policy={"path": "owner/planned@a1"}, annotation={"annotators": [reward]}, rounds=1
    )
    without = forecast(config, rates={}, gpu_gib=80)
    assert "`hf download owner/planned config.json --revision a1`" in " ".join(without.assumptions)
    assert "`hf download owner/absent config.json`" in " ".join(without.assumptions)
    assert "Memory at the peak" not in as_text(without)
    cached = tmp_path / "hub" / "models--owner--planned" / "snapshots" / "a1"
    cached.mkdir(parents=True)
    (cached / "config.json").write_text(json.dumps(GEMMA))
    stages.model_of.cache_clear()
    told = forecast(config, rates={}, gpu_gib=80)
    assert [stage.path for stage in told.stages if stage.path.endswith("policy") and stage.memory]
    assert "owner/planned" not in " ".join(told.assumptions)
    (cached / "config.json").write_text('{"model_type": "gem')
    stages.model_of.cache_clear()
    cut = " ".join(forecast(config, rates={}, gpu_gib=80).assumptions)
    assert "config.json" in cut and "no family" not in cut.split("owner/absent")[0]


def test_a_cpus_kv_cache_is_what_the_engine_asks_for(settings: Callable[..., RunConfig]) -> None:
    told = forecast(settings(sampling={"n": 5}), rates={}, device="cpu")
    (taken,) = (stage.memory for stage in told.stages if stage.path == "round-1/responses")
    two = 2 * 2 * 42 * 8 * 256 * 4 * (8192 + 32)
    assert taken and taken.kv_cache == two > 4 << 30  # two of a whole context, beyond its 4 GiB


def test_checkpointing_keeps_a_layers_input_alone() -> None:
    model = Model.read(GEMMA)
    assert model
    one = Pass(tokens=8192, answers=6000, width=2, logits=1 << 20)
    kept = memory.training(model, one, passes=2).activations
    recomputed = memory.training(model, one, passes=2, checkpointing=True).activations
    assert recomputed < kept / 4
