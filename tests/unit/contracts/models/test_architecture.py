"""The tensors that a config asks for are those that transformers makes of it."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from contracts.models.architecture import FAMILIES, language_model

SMALL = {
    "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0,
}  # fmt: skip


def tensors(family: str, settings: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """What a model of transformers' own saves."""
    config = AutoConfig.for_model(family, **settings)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    state = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        del state["lm_head.weight"]
    return state


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "settings",
    [
        SMALL,
        SMALL | {"head_dim": 16},
        SMALL | {"attention_bias": True, "mlp_bias": True},
        SMALL | {"tie_word_embeddings": True},
        SMALL | {"tie_word_embeddings": False},
        {key: SMALL[key] for key in SMALL if key != "num_key_value_heads"},
    ],
    ids=["plain", "wide heads", "biases", "tied", "not tied", "heads not told"],
)
def test_names_and_shapes_are_transformers_own(family: str, settings: dict[str, Any]) -> None:
    assert language_model({"model_type": family, **settings}) == tensors(family, settings)


@pytest.mark.parametrize(
    "config",
    [
        {**SMALL, "model_type": "mixtral"},
        {**SMALL, "model_type": "llama", "quantization_config": {"quant_method": "awq"}},
        {"model_type": "llama", "hidden_size": 32},
    ],
    ids=["another family", "quantised", "no sizes"],
)
def test_of_what_is_not_known_nothing_is_claimed(config: dict[str, Any]) -> None:
    assert language_model(config) is None
