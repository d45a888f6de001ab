"""Models, prompts and functions that are whole, for checks to look at."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_armorm import write_armorm
from transformers import LlamaConfig, LlamaForSequenceClassification

REWARDS = "def good(messages, text):\n    return 1.0\n\nnumber = 3\n"


@pytest.fixture(scope="session")
def models(
    tmp_path_factory: pytest.TempPathFactory, tiny_gemma: Path, tiny_llama_tokenizer: Any
) -> Path:
    """A policy, an ArmoRM and a classifier, all whole; prompts; a module of functions."""
    root = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_gemma, root / "policy")
    write_armorm(root / "armorm", tiny_llama_tokenizer)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    settings = LlamaConfig(
        vocab_size=len(tiny_llama_tokenizer), num_attention_heads=2, num_labels=1, **sizes,
        pad_token_id=tiny_llama_tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForSequenceClassification(settings).save_pretrained(root / "classifier")
    tiny_llama_tokenizer.save_pretrained(root / "classifier")
    (root / "prompts.jsonl").write_text('{"prompt": "Hi"}\n' * 8)
    (root / "questions.json").write_text('[{"instruction": "Why?"}]')
    (root / "check_rewards.py").write_text(REWARDS)
    return root


@pytest.fixture
def world(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to spoil, as the working folder."""
    monkeypatch.chdir(shutil.copytree(models, tmp_path / "world"))
    monkeypatch.syspath_prepend(tmp_path / "world")
    monkeypatch.delitem(sys.modules, "check_rewards", raising=False)
    return tmp_path / "world"
