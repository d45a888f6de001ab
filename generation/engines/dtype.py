"""What `dtype: auto` is for a policy on this machine's GPUs: one name, for every engine."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.models.hub import model_file
from runtime.device import capability, supported_dtypes

# As vLLM: in float16 their activations overflow.
_NOT_IN_FLOAT16 = ("gemma2", "gemma3", "gemma3_text", "glm4")


def resolved(dtype: str, policy: str) -> str:
    """The dtype that a config's `dtype` means for a model here.

    Raises:
        UserError: its config.json cannot be had.
    """
    if dtype != "auto":
        return dtype
    path = model_file(policy, "config.json")
    return auto_of(json.loads(path.read_text()) if path else {}, supported_dtypes(capability()))


def auto_of(settings: Mapping[str, Any], supported: Sequence[str]) -> str:
    """The weights' own dtype if the device computes in it, else the device's preferred one.

    float32 weights, and those whose config names no dtype, take the preferred one too.

    Args:
        settings: the model's config.json.
        supported: the device's dtypes, the preferred one first.
    """
    if settings.get("model_type") in _NOT_IN_FLOAT16:
        supported = [name for name in supported if name != "float16"]
    text = settings.get("text_config") or {}
    named = (part.get(key) for part in (settings, text) for key in ("dtype", "torch_dtype"))
    stored = str(next(filter(None, named), "float32")).removeprefix("torch.")
    return stored if stored in supported and stored != "float32" else supported[0]
