"""No loader makes up a tensor, leaves one out, or goes on with one of another shape."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_armorm import write_armorm
from transformers import AutoModelForCausalLM

from annotation.annotators.base import ScoreResources
from annotation.armorm.model import load_armorm
from annotation.armorm.vllm_scorer import open_vllm
from annotation.scorers.classifier import _load_classifier
from contracts.errors import UserError
from contracts.models.adapters import refuse_other_adapter
from generation import engines
from generation.config import SampleConfig
from training.adapters.merge import merge
from training.config import TrainResources
from training.loop.policy import load_policy

CHANGES: dict[str, tuple[dict[str, torch.Tensor | None], str]] = {
    "missing": ({"model.norm.weight": None}, r"missing: model\.norm\.weight"),
    "extra": ({"v_head.weight": torch.ones(2)}, r"unknown: v_head\.weight"),
    "misshaped": ({"model.norm.weight": torch.ones(7)}, r"model\.norm\.weight \[7\] instead of"),
    "cut": ({}, r"model\.safetensors: has [\d,]+ bytes instead of"),
}


def spoil(model: Path, how: str) -> str:
    """Change a model's weights; the message that is due."""
    tensors, message = CHANGES[how]
    path = model / "model.safetensors"
    kept = {name: value for name, value in (load_file(path) | tensors).items() if value is not None}
    save_file(kept, path, {"format": "pt"})
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-4])
    return message


def sampled(engine: str) -> Callable[[Path], Any]:
    def start(model: Path, adapter: str | None = None) -> Any:
        config = SampleConfig.model_validate({"max_tokens": 4, "engine": {"kind": engine}})
        return engines.start(engines.Job(str(model), config, [1], 4, 64, adapter, 4))

    return start


def trained(model: Path) -> Any:
    return load_policy(str(model), TrainResources(strategy="none"), torch.float32)


def adapter_for(base: Path, out: Path, *targets: str) -> Path:
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(r=4, target_modules=list(targets or ["q_proj"]))
    get_peft_model(model, config).save_pretrained(out)
    return out


def merged(model: Path) -> Any:
    # The adapter was made before the base was spoilt.
    return merge(model.parent / "adapter", model.parent / "merged", str(model))


LOADERS = {
    "transformers": sampled("transformers"),
    "vllm": sampled("vllm"),
    "training": trained,
    "merge": merged,
}


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("loader", LOADERS)
def test_a_policy_of_other_tensors_is_refused(
    loader: str, how: str, tiny_gemma: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_gemma, tmp_path / "model"))
    adapter_for(model, tmp_path / "adapter")
    message = spoil(model, how)
    with pytest.raises(UserError, match=message):
        LOADERS[loader](model)


@pytest.fixture
def armorm(tmp_path: Path, tiny_llama_tokenizer: Any) -> Path:
    write_armorm(tmp_path, tiny_llama_tokenizer)
    return tmp_path


@pytest.mark.parametrize("how", CHANGES)
def test_an_armorm_of_other_tensors_is_refused_by_both_engines(how: str, armorm: Path) -> None:
    message = spoil(armorm, how)
    with pytest.raises(UserError, match=message):
        load_armorm(str(armorm), torch.device("cpu"), torch.float32)
    config = {"kind": "armorm", "name": "a", "path": str(armorm), "engine": "vllm"}
    with pytest.raises(UserError, match=message):
        open_vllm(_annotator(config), str(armorm), ScoreResources(device="cpu"))


def _annotator(config: dict[str, Any]) -> Any:
    from annotation.annotators.armorm import ArmoRMConfig

    return ArmoRMConfig.model_validate(config)


def test_a_classifier_of_a_family_that_we_do_not_know_is_judged_as_it_loads(tmp_path: Path) -> None:
    from transformers import GPTNeoXConfig, GPTNeoXForSequenceClassification

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 40}
    config = GPTNeoXConfig(num_attention_heads=2, num_labels=1, **sizes)
    GPTNeoXForSequenceClassification(config).save_pretrained(tmp_path)
    assert _load_classifier(str(tmp_path), torch.float32)
    path = tmp_path / "model.safetensors"
    save_file({**load_file(path), "v_head.weight": torch.ones(2)}, path, {"format": "pt"})
    with pytest.raises(UserError, match=r"unknown: v_head\.weight"):
        _load_classifier(str(tmp_path), torch.float32)


@pytest.mark.parametrize("loader", ["transformers", "vllm", "merge"])
@pytest.mark.parametrize(
    ("lost", "message"),
    [("layers.1.self_attn.q_proj.lora_A", r"missing: .*layers\.1\.self_attn\.q_proj\.lora_A"),
     ("", r"adapter_model\.safetensors: has [\d,]+ bytes instead of")],
    ids=["missing", "cut"],
)  # fmt: skip
def test_an_adapter_that_lacks_a_matrix_is_refused(
    loader: str, lost: str, message: str, tiny_gemma: Path, tmp_path: Path
) -> None:
    adapter = adapter_for(tiny_gemma, tmp_path / "adapter")
    path = adapter / "adapter_model.safetensors"
    kept = {n: t for n, t in load_file(path).items() if not lost or lost not in n}
    save_file(kept, path, {"format": "pt"})
    if not lost:
        path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=message):
        if loader == "merge":
            merge(adapter, tmp_path / "merged", str(tiny_gemma))
        else:
            sampled(loader)(tiny_gemma, str(adapter))  # type: ignore[call-arg]


def test_an_adapter_of_the_embeddings_is_checked_by_their_own_names_and_shapes(
    tiny_gemma: Path, tmp_path: Path
) -> None:
    """peft names their matrices lora_embedding_A [rank, vocabulary] and _B [hidden, rank]."""
    adapter = adapter_for(tiny_gemma, tmp_path / "adapter", "embed_tokens", "q_proj")
    refuse_other_adapter(adapter, str(tiny_gemma))
    path = adapter / "adapter_model.safetensors"
    whole = load_file(path)
    name = "base_model.model.model.embed_tokens.lora_embedding_A"
    save_file({n: t for n, t in whole.items() if n != name}, path, {"format": "pt"})
    with pytest.raises(UserError, match=rf"missing: {name}\."):
        refuse_other_adapter(adapter, str(tiny_gemma))
    save_file({**whole, name: whole[name][:, 1:].contiguous()}, path, {"format": "pt"})
    with pytest.raises(UserError, match=name):
        refuse_other_adapter(adapter, str(tiny_gemma))


def test_an_adapter_for_layers_that_the_base_does_not_have_is_refused(
    tiny_gemma: Path, tmp_path: Path
) -> None:
    adapter = adapter_for(tiny_gemma, tmp_path / "adapter")
    path = adapter / "adapter_model.safetensors"
    tensors = {name.replace("layers.1.", "layers.9."): t for name, t in load_file(path).items()}
    save_file(tensors, path, {"format": "pt"})
    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert settings["target_modules"] == ["q_proj"]
    with pytest.raises(UserError, match=r"does not fit .*unknown: .*layers\.9\.self_attn"):
        merge(adapter, tmp_path / "merged")
