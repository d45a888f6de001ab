"""A small random ArmoRM."""

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, PreTrainedTokenizerBase

from annotation.armorm.model import ArmoRM


def write_armorm(path: Path, tokenizer: PreTrainedTokenizerBase, **shape: Any) -> ArmoRM:
    """Save it and its tokenizer in `path`; `shape` overrides settings of its config."""
    torch.manual_seed(0)
    config = {
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2,
        "gating_hidden_dim": 16, **shape,
    }  # fmt: skip
    model = ArmoRM(
        LlamaConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **config)
    )
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return model
