"""`onpolicy plan`: what a run will do and take, told before anything is begun."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from made_run import made
from typer.testing import CliRunner

from contracts.config.yaml import dump_yaml
from contracts.errors import OnPolicyError, UserError
from flows.cli.app import app
from flows.forecast import clusters, memory, stages
from flows.forecast.memory import Model, Pass
from flows.forecast.plan import RunPlan, forecast
from flows.forecast.rates import given_rates
from flows.forecast.text import as_text
from flows.pipeline.config import RunConfig
from runtime.cluster import count
from runtime.cluster.config import RayCluster
from runtime.cluster.count import Counted
from runtime.cluster.seating import Node, Request

GEMMA = {
    "model_type": "gemma2", "vocab_size": 256_000, "hidden_size": 3584,
    "intermediate_size": 14_336, "num_hidden_layers": 42, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 256, "max_position_embeddings": 8192,
}  # fmt: skip


@pytest.fixture
def settings(runs_with: Callable[..., Callable[..., RunConfig]]) -> Callable[..., RunConfig]:
    """Configs of runs whose policy has Gemma-2-9B's sizes."""
    return runs_with(GEMMA)


def rows(told: RunPlan) -> dict[str, int | None]:
    return {stage.path: stage.rows for stage in told.stages}


def test_rows_and_tokens_follow_from_the_config(settings: Callable[..., RunConfig]) -> None:
    told = forecast(settings(), rates={}, prompt=10, answer=20)
    known = rows(told)
    assert known["prompts"] == 30 and known["round-0/prompts"] == 4
    assert known["round-1/responses"] == 40 and known["round-1/scores"] == 40
    assert known["round-2/policy"] == 10
    by_path = {stage.path: stage for stage in told.stages}
    assert by_path["round-1/responses"].tokens == 800
    assert by_path["round-1/policy"].tokens == 10 * (10 + 2 * 20)


def test_prompts_are_no_more_than_their_files_limits_and_weights_give(
    settings: Callable[..., RunConfig], tmp_path: Path
) -> None:
    def prompts(**given: Any) -> int | None:
        given = {"test_size": 4} | given
        return rows(forecast(settings(rounds=1, prompts=given), rates={}))["prompts"]

    first = {"path": str(tmp_path / "prompts.jsonl")}
    second = {"path": str(tmp_path / "more.jsonl")}
    settings()
    (tmp_path / "more.jsonl").write_text('{"prompt": "Tell."}\n' * 30)
    assert prompts(**first, limit=1000) == 30 and prompts(**first, limit=20) == 20
    assert prompts(sources=[first | {"limit": 10}, second]) == 40
    assert prompts(sources=[first | {"weight": 1}, second | {"weight": 9}]) == 33
    there = {"path": "owner/prompts", "revision": "abc"}
    assert prompts(sources=[first, there | {"limit": 8}]) == 38
    assert prompts(sources=[first, there]) is None


def test_hours_come_from_the_rates_given_and_what_has_none_is_named(
    settings: Callable[..., RunConfig], tmp_path: Path
) -> None:
    told = forecast(settings(rounds=1), rates={"responses": 0.01})
    assert told.seconds == pytest.approx((4 + 40 + 4) / 0.01)
    assert "policy" in told.without_rate and "responses" not in told.without_rate
    text = as_text(told)
    assert "at least 1:20:00" in text and "--rate NAME=ROWS_A_SECOND" in text
    unknown = as_text(forecast(settings(rounds=1), rates={}))
    assert max(map(len, unknown.splitlines())) > 60
    narrow = as_text(forecast(settings(rounds=1), rates={}), 60)
    lines = [line for line in narrow.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 60
    assert "rows 40" in narrow and "in all " in narrow
    assert "In all: an unknown time, " in unknown and "; no rate is known of " in unknown


def test_what_is_done_and_what_another_run_has_done_costs_nothing(
    settings: Callable[..., RunConfig],
) -> None:
    made(settings(rounds=1))
    again = forecast(settings(rounds=1), rates={})
    assert {stage.state for stage in again.stages} == {"done"} and again.seconds == 0
    other = forecast(settings(rounds=1, name="other", training={"learning_rate": 1e-6}), rates={})
    states = {stage.path: stage.state for stage in other.stages}
    assert states["round-1/scores"] == "reuse" and states["round-1/policy"] == "to do"
    assert states["round-1/evaluation/responses"] == "to do"
    resampled = forecast(settings(rounds=1, name="third", sampling={"n": 8}), rates={})
    states = {stage.path: stage.state for stage in resampled.stages}
    assert states["round-1/responses"] == states["round-1/scores"] == "to do"


def test_the_gpus_of_a_cluster_are_counted_and_planned_for(
    settings: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [Node(str(number), f"10.0.0.{number}", 64, 8) for number in range(4)]
    monkeypatch.setattr(count, "connect", lambda _: True)
    monkeypatch.setattr(count, "nodes", lambda: nodes)

    def here(cluster: RayCluster, requests: dict[str, Request]) -> Counted:
        return count.counted(count.Count(cluster=cluster, requests=requests))

    monkeypatch.setattr(clusters, "_counted", here)
    engine = {"kind": "vllm", "resources": {"tensor_parallel": 2}}
    config = settings(rounds=1, resources={"cluster": "ray"}, sampling={"n": 4, "engine": engine})
    told = forecast(config, rates={})
    (one,) = told.clusters
    assert (told.device, one.nodes, one.gpus) == ("cuda", 4, 32)
    assert (one.workers["responses"], one.workers["scores"]) == (16, 32)
    assert "has 4 nodes, 32 GPUs and 256 CPUs by now; workers: " in as_text(told)
    monkeypatch.setattr(count, "nodes", Mock(side_effect=OnPolicyError("the cluster is gone")))
    text = as_text(forecast(config, rates={}))
    assert "The cluster's GPUs are not counted: the cluster is gone" in text


def test_it_writes_nothing(settings: Callable[..., RunConfig], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    forecast(settings(), rates={})
    assert sorted(tmp_path.rglob("*")) == before


def test_run_dry_run_and_plan_say_the_same_as_text_and_as_json(
    settings: Callable[..., RunConfig], tmp_path: Path
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(dump_yaml(settings().model_dump(mode="json")))
    planned = CliRunner().invoke(app, ["plan", str(path)])
    assert planned.exit_code == 0, planned.output
    assert CliRunner().invoke(app, ["run", str(path), "--dry-run"]).stdout == planned.stdout
    told = json.loads(CliRunner().invoke(app, ["plan", str(path), "--json"]).stdout)
    assert told["stages"][0]["path"] == "prompts" and told["assumptions"]
    trained = next(one for one in told["stages"] if one["path"] == "round-1/policy")
    assert trained["memory"]["total"] > trained["memory"]["weights"]


@pytest.mark.parametrize("text", ["responses", "responses=x", "=2", "responses=0", "a=inf"])
def test_a_rate_that_is_none_says_how_to_give_one(text: str) -> None:
    with pytest.raises(UserError, match="rows a second"):
        given_rates([text])


def test_a_rate_of_a_stage_that_is_not_there_names_those_that_are(
    settings: Callable[..., RunConfig],
) -> None:
    with pytest.raises(UserError, match=r"--rate respones: the plan has no such stage.* responses"):
        forecast(settings(), rates={"policy": 1.0, "respones": 1.0})


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
