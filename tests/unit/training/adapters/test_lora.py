"""The adapter that a LoRA training leaves: peft's own files."""

import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM

from contracts.steps import fingerprint
from generation.engines.adapter import resolve
from training.adapters.lora import add_adapters, write_adapter
from training.config import LoraConfig

COMMIT = "c" * 40


@pytest.mark.parametrize("hub", [False, True], ids=["a folder", "a commit on the hub"])
def test_peft_loads_an_adapter_with_its_base_by_the_name_in_its_config(
    tiny_gemma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    reference = f"owner/base@{COMMIT}" if hub else str(tiny_gemma)
    shutil.copytree(tiny_gemma, tmp_path / "cache/models--owner--base/snapshots" / COMMIT)
    policy, config = AutoModelForCausalLM.from_pretrained(tiny_gemma), LoraConfig(rank=4)
    add_adapters(policy, config, 1, torch.float32)
    write_adapter(dict(policy.named_parameters()), config, reference, tmp_path)
    loaded = AutoPeftModelForCausalLM.from_pretrained(
        str(tmp_path / "adapter"), cache_dir=str(tmp_path / "cache"), local_files_only=True
    )
    found = loaded.peft_config["default"]
    assert (found.base_model_name_or_path, found.revision) == (
        ("owner/base", COMMIT) if hub else (str(tiny_gemma), None)
    )
    # And so do our own readers.
    assert resolve(str(tmp_path / "adapter")).model == reference
    wanted = {"base": fingerprint.of_input(reference)}
    assert fingerprint._adapter_base(tmp_path / "adapter") == wanted
