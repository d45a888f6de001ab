"""One plain process: exact global batches, refusals before a step, a policy that loads."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from accelerate.state import AcceleratorState
from pair_rows import row, write_tokens

from contracts.errors import OnPolicyError, UserError
from contracts.models.copies import environment_for
from contracts.tables.schemas import METRICS, TOKENS
from training.config import LoraConfig, TrainConfig, TrainResources
from training.engines import make_engine
from training.launch.job import write_job
from training.loop.worker import TRAINED, Job, make_ready
from training.loop.worker import train as work
from training.losses.reference_free.sft import SFTConfig
from training.losses.reference_free.simpo import SimPOConfig
from training.tokens import checks


@pytest.fixture
def tokens(tmp_path: Path, tiny_gemma: Path) -> Path:
    rows = [row(number, 1 + number % 6, 1 + number % 4) for number in range(22)]
    return write_tokens(tmp_path / "tokens", tiny_gemma, rows)


def config(**resources: Any) -> TrainConfig:
    return TrainConfig(
        learning_rate=1e-3,
        global_batch=8,
        epochs=2,
        resources=TrainResources(**{"strategy": "none", "threads": 1, **resources}),
    )


def trained(settings: TrainConfig, tokens: Path, policy: Path, out: Path) -> pa.Table:
    (out / ".checkpoints").mkdir(parents=True)
    work(Job(settings, str(tokens), str(policy), out))
    return pq.read_table(out / "metrics.parquet")


def values(metrics: pa.Table, name: str) -> list[float]:
    return [r["value"] for r in metrics.to_pylist() if r["name"] == name]


def test_on_a_node_that_fetched_the_policy_its_copy_is_loaded_and_adapters_name_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.json", config(), tmp_path, "runs/demo/round-1/policy", tmp_path)
    for name, value in environment_for({"runs/demo/round-1/policy": "/cache/1"}).items():
        monkeypatch.setenv(name, value)
    assert (Job.read(job).policy, Job.read(job).named) == ("/cache/1", "runs/demo/round-1/policy")


@pytest.mark.parametrize(("resources", "weighting"), [
    ({"micro_batch_tokens": 1}, None),
    ({"micro_batch_tokens": 60, "layout": "separate"}, "wpo"),
    ({"gradient_checkpointing": True, "logits_mib": 1}, "wpo"),
])  # fmt: skip
def test_how_pairs_are_batched_does_not_change_what_is_learned(
    tokens: Path,
    tiny_gemma: Path,
    tmp_path: Path,
    resources: dict[str, Any],
    weighting: str | None,
) -> None:
    from safetensors.torch import load_file

    weighed = {"weighting": weighting}
    whole, split = (
        trained(settings.model_copy(update=weighed), tokens, tiny_gemma, tmp_path / name)
        for name, settings in (("whole", config()), ("split", config(**resources)))
    )
    assert bool(weighting) == ("weights" in whole["name"].to_pylist())
    assert split["name"].to_pylist() == whole["name"].to_pylist()
    assert split["value"].to_pylist() == pytest.approx(whole["value"].to_pylist(), abs=1e-4)
    weights = [load_file(tmp_path / out / "model.safetensors") for out in ("whole", "split")]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=1e-5, rtol=1e-5)


def test_adams_epsilon_is_the_configs(tokens: Path, tiny_gemma: Path, tmp_path: Path) -> None:
    """One that dwarfs every gradient: no weight moves."""
    from safetensors.torch import load_file

    settings = config().model_copy(update={"adam_epsilon": 1e9})
    trained(settings, tokens, tiny_gemma, tmp_path / "still")
    before, after = (load_file(folder / "model.safetensors")
                     for folder in (tiny_gemma, tmp_path / "still"))  # fmt: skip
    for name, weight in after.items():
        torch.testing.assert_close(weight, before[name].float(), atol=1e-8, rtol=0)


@pytest.mark.parametrize("layout", ["packed", "shared", "separate"])
def test_sft_runs_the_chosen_responses_alone(
    tokens: Path, tiny_gemma: Path, tmp_path: Path, layout: str
) -> None:
    settings = config(layout=layout).model_copy(update={"loss": SFTConfig()})
    found = trained(settings, tokens, tiny_gemma, tmp_path / "sft")
    assert set(found["name"].to_pylist()) == {
        "loss", "logps/chosen", "grad_norm", "learning_rate",
    }  # fmt: skip
    assert values(found, "loss") == [-value for value in values(found, "logps/chosen")]
    # The same loss, with the rejected responses beside it: nothing of them gets in.
    heavy = SimPOConfig(beta=1e-8, sft_weight=1.0)
    beside = config().model_copy(update={"loss": heavy})
    expected = trained(beside, tokens, tiny_gemma, tmp_path / "simpo")
    assert values(found, "logps/chosen") == pytest.approx(
        values(expected, "logps/chosen"), rel=1e-3
    )


def test_the_trained_policy_loads_prefers_the_chosen_and_can_be_sampled(
    tokens: Path, tiny_gemma: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    metrics = trained(config(), tokens, tiny_gemma, tmp_path / "policy")
    assert metrics.schema.equals(METRICS)
    assert values(metrics, "rewards/margins")[-1] > values(metrics, "rewards/margins")[0] + 1
    policy = AutoModelForCausalLM.from_pretrained(tmp_path / "policy", dtype="auto")
    assert policy.dtype == torch.float32
    assert policy.config.use_cache
    assert policy.lm_head.weight is policy.model.embed_tokens.weight
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "policy")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_gemma).chat_template
    assert (tmp_path / "policy" / "generation_config.json").exists()
    facts = json.loads((tmp_path / "policy" / TRAINED).read_text())
    assert (facts["steps"], facts["processes"], facts["zero_stage"]) == (6, 1, 0)


def test_training_twice_gives_the_same_files(
    tokens: Path, tiny_gemma: Path, tmp_path: Path
) -> None:
    from contracts.steps.fingerprint import of_files

    for out in ("one", "two"):
        trained(config(), tokens, tiny_gemma, tmp_path / out)
    assert of_files(tmp_path / "one") == of_files(tmp_path / "two")


def test_a_tracker_changes_no_file_of_the_policy(
    tokens: Path, tiny_gemma: Path, tmp_path: Path
) -> None:
    from contracts.steps.fingerprint import of_files
    from training.trackers.tensorboard import TensorBoardTracker

    followed = config().model_copy(update={"trackers": [TensorBoardTracker()]})
    for out, settings in (("plain", config()), ("followed", followed)):
        trained(settings, tokens, tiny_gemma, tmp_path / out)
    assert of_files(tmp_path / "plain") == of_files(tmp_path / "followed")
    assert list((tmp_path / "followed" / ".tensorboard").glob("events.*"))


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_pairs(
    tiny_gemma: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    broken = Path(shutil.copytree(tiny_gemma, tmp_path / "broken"))
    weights = load_file(broken / "model.safetensors")
    weights["model.embed_tokens.weight"][300] = torch.nan
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    rows = [row(number, chosen_ids=[300] if number == 5 else [20]) for number in range(8)]
    tokens = write_tokens(tmp_path / "tokens", broken, rows)
    with pytest.raises(OnPolicyError, match=r"step 1: the loss is nan; pairs p\d"):
        trained(config(), tokens, broken, tmp_path / "policy")
    assert not (tmp_path / "policy" / "model.safetensors").exists()
    (kept,) = (tmp_path / "policy" / ".checkpoints").glob("bad-step-00000001-*.parquet")
    batch = pq.read_table(kept)
    assert batch.schema.equals(TOKENS)
    assert [300] in batch["chosen_ids"].to_pylist()


def test_a_gradient_that_is_not_finite_stops_with_the_step(
    tokens: Path, tiny_gemma: Path, tmp_path: Path
) -> None:
    settings = config().model_copy(update={"learning_rate": 1e30, "warmup_ratio": 0.0})
    with pytest.raises(OnPolicyError, match=r"step 2: the gradient's norm is nan"):
        trained(settings, tokens, tiny_gemma, tmp_path / "policy")


@pytest.mark.parametrize("bad", [
    {"chosen_ids": []},
    {"rejected_loss_start": 3},
    {"prompt_ids": []},
])  # fmt: skip
def test_a_row_without_tokens_is_refused_by_its_id(
    tiny_gemma: Path, tmp_path: Path, bad: dict[str, Any]
) -> None:
    tokens = write_tokens(tmp_path / "tokens", tiny_gemma, [row(0), row(1, **bad)])
    with pytest.raises(UserError, match=r"1 rows have no prompt or no response token .* p1;"):
        checks.refuse_bad_rows(tokens)


def test_an_empty_table_is_refused(tiny_gemma: Path, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", tiny_gemma, [])
    with pytest.raises(UserError, match="nothing to train on"):
        checks.refuse_bad_rows(tokens)


def test_tokens_of_another_policys_tokenizer_are_refused(tiny_gemma: Path, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", "other/policy", [row(0)])
    with pytest.raises(UserError, match=r"hub:other/policy, not for"):
        checks.refuse_other_policy(tokens, str(tiny_gemma))


def test_a_pair_beyond_the_models_context_is_refused(tiny_gemma: Path, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens", tiny_gemma, [row(0), row(1, chosen=600)])
    with pytest.raises(UserError, match=r"pair p1: \d+ tokens .* context of 512"):
        trained(config(), tokens, tiny_gemma, tmp_path / "policy")


def test_sdpa_is_refused_for_a_model_that_caps_its_attention_scores(
    tokens: Path, tiny_gemma: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="soft-caps"):
        trained(config(attention="sdpa"), tokens, tiny_gemma, tmp_path / "policy")


def test_beside_float32_adapters_the_frozen_base_takes_two_bytes_a_weight(
    tokens: Path, tiny_gemma: Path, tmp_path: Path
) -> None:
    adapters = LoraConfig(rank=4, alpha=8)
    settings = config().model_copy(update={"lora": adapters, "dtype": "bfloat16"})
    job = Job(settings, str(tokens), str(tiny_gemma), tmp_path)
    AcceleratorState._reset_state()  # a process has one precision; this one had float32
    policy, _ = make_ready(job, make_engine(settings), tmp_path)
    AcceleratorState._reset_state()
    bytes_each = {(p.requires_grad, p.element_size()) for p in policy.parameters()}
    assert bytes_each == {(True, 4), (False, 2)}


def test_adapters_are_merged_and_kept_beside_the_policy(
    tokens: Path, tiny_gemma: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    settings = config().model_copy(update={"lora": LoraConfig(rank=4, alpha=8)})
    out = tmp_path / "policy"
    metrics = trained(settings, tokens, tiny_gemma, out)
    assert values(metrics, "loss")[-1] < values(metrics, "loss")[0]
    start, merged = (load_file(folder / "model.safetensors") for folder in (tiny_gemma, out))
    assert merged.keys() == start.keys()
    changed = {name for name in start if not torch.equal(start[name], merged[name])}
    assert len(changed) == 2 * 7
    assert all(name.endswith("proj.weight") for name in changed)
    base = AutoModelForCausalLM.from_pretrained(tiny_gemma)
    with_adapter = PeftModel.from_pretrained(base, out / "adapter").eval()
    whole = AutoModelForCausalLM.from_pretrained(out).eval()
    ids = torch.arange(2, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            with_adapter(ids).logits, whole(ids).logits, atol=1e-4, rtol=1e-4
        )
