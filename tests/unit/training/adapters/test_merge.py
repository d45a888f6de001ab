"""Merging adapters, ours and others', into their base."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from contracts.errors import UserError
from training.adapters.merge import merge

IDS = torch.tensor([[2, 11, 12, 13, 14]])


def adapter_of(base: Path, out: Path, **settings: Any) -> torch.Tensor:
    """Write a peft adapter whose matrices are not zero; the adapted model's logits."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], **settings)
    adapted = get_peft_model(model, config).eval()
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(out)
    with torch.no_grad():
        return adapted(IDS).logits


def logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder).eval()(IDS).logits


@pytest.mark.parametrize(
    "settings",
    [{"lora_alpha": 8}, {"lora_alpha": 8, "use_rslora": True}, {"use_dora": True}],
    ids=str,
)
def test_a_merged_model_answers_as_the_adapted_one(
    tiny_gemma: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    expected = adapter_of(tiny_gemma, tmp_path / "adapter", **settings)
    merge(tmp_path / "adapter", tmp_path / "merged")
    assert not torch.allclose(logits(tiny_gemma), expected, atol=1e-3)
    torch.testing.assert_close(logits(tmp_path / "merged"), expected, atol=1e-5, rtol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_gemma).chat_template
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["use_cache"] is True


def test_a_merged_weight_is_rounded_once(tiny_gemma: Path, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_gemma).bfloat16()
    base.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(tiny_gemma).save_pretrained(tmp_path / "base")
    adapter_of(tmp_path / "base", tmp_path / "adapter", lora_alpha=8)
    merge(tmp_path / "adapter", tmp_path / "merged")
    start, merged, adapter = (
        load_file(tmp_path / name)
        for name in ("base/model.safetensors", "merged/model.safetensors",
                     "adapter/adapter_model.safetensors")
    )  # fmt: skip
    layer = "model.layers.0.mlp.down_proj"
    down, up = (adapter[f"base_model.model.{layer}.lora_{side}.weight"].double() for side in "AB")
    expected = start[f"{layer}.weight"].double() + up @ down * (8 / 4)
    assert torch.equal(merged[f"{layer}.weight"], expected.bfloat16())


def test_another_base_may_be_named(tiny_gemma: Path, tmp_path: Path) -> None:
    expected = adapter_of(tiny_gemma, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": None}))
    with pytest.raises(UserError, match="names no base"):
        merge(tmp_path / "adapter", tmp_path / "merged")
    merge(tmp_path / "adapter", tmp_path / "merged", str(tiny_gemma))
    torch.testing.assert_close(logits(tmp_path / "merged"), expected, atol=1e-5, rtol=1e-5)


def test_a_full_folder_is_never_written_to(tiny_gemma: Path, tmp_path: Path) -> None:
    adapter_of(tiny_gemma, tmp_path / "adapter")
    with pytest.raises(UserError, match="is not empty"):
        merge(tmp_path / "adapter", tmp_path / "adapter")


def test_what_is_no_lora_adapter_is_refused(tiny_gemma: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no adapter_config\.json"):
        merge(tiny_gemma, tmp_path / "merged")
    adapter_of(tiny_gemma, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(UserError, match=r"holds no adapter_model\.safetensors"):
        merge(tmp_path / "adapter", tmp_path / "merged")


def test_an_adapter_of_another_shape_is_refused(tiny_gemma: Path, tmp_path: Path) -> None:
    adapter_of(tiny_gemma, tmp_path / "adapter")
    wide = AutoModelForCausalLM.from_pretrained(tiny_gemma).config
    wide.hidden_size = 96
    AutoModelForCausalLM.from_config(wide).save_pretrained(tmp_path / "wide")
    with pytest.raises(UserError, match="does not fit"):
        merge(tmp_path / "adapter", tmp_path / "merged", str(tmp_path / "wide"))
    assert not (tmp_path / "merged").exists()
