"""The tensors of the families that are trained here, from config.json alone.

Importing torch and transformers only to ask a model on the `meta` device for its names would
cost each `onpolicy run` seconds; a test holds these against transformers' own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FAMILIES = ("gemma", "gemma2", "llama", "mistral", "qwen2", "qwen3")
"""Model types whose forward is embedding, layers, norm, head and an optional soft-cap."""

_NEEDED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
)  # fmt: skip
# What transformers takes where config.json is silent.
_HEAD_WIDTHS = {"gemma": 256, "gemma2": 256, "qwen3": 128}
_KEY_HEADS = {"gemma": 16, "gemma2": 4, "mistral": 8, "qwen2": 32, "qwen3": 32}
_TIED = ("gemma", "gemma2")
_FREE_OF_BIAS = ("mistral",)


def language_model(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """Names and shapes of a causal language model's tensors, without a tied head's.

    None if the family is another, the weights are quantised, or the config lacks a size.
    """
    shapes = backbone(config)
    if shapes is None:
        return None
    if not config.get("tie_word_embeddings", config["model_type"] in _TIED):
        shapes["lm_head.weight"] = (config["vocab_size"], config["hidden_size"])
    return shapes


def backbone(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """Names and shapes of the tensors below the head; None where `language_model` gives none."""
    quantised = config.get("quantization_config") or config.get("compression_config")
    if quantised or sizes(config) is None:
        return None
    hidden = config["hidden_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }
    layer = _layer(config)
    for number in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{number}.{name}": shape for name, shape in layer.items()}
    return shapes


@dataclass(frozen=True)
class Sizes:
    """The sizes of a decoder of a known family; what its config leaves out, as transformers has
    it."""

    layers: int
    hidden: int
    intermediate: int
    queries: int
    """Width of all query heads together."""
    keys: int
    """Width of all key heads together."""
    vocabulary: int
    tied: bool
    """Whether the output head is the embedding."""


def sizes(config: Mapping[str, Any]) -> Sizes | None:
    """A model's sizes by its config.json; None where the family is another or one is missing."""
    family = config.get("model_type")
    if family not in FAMILIES or not all(isinstance(config.get(key), int) for key in _NEEDED):
        return None
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    width = config.get("head_dim") or _HEAD_WIDTHS.get(family) or hidden // heads
    keys = config.get("num_key_value_heads") or _KEY_HEADS.get(family, heads)
    return Sizes(
        config["num_hidden_layers"], hidden, config["intermediate_size"], heads * width,
        keys * width, config["vocab_size"], config.get("tie_word_embeddings", family in _TIED),
    )  # fmt: skip


def _layer(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    family, of = config["model_type"], sizes(config)
    assert of is not None  # the caller has looked
    hidden, inner, queries, keys = of.hidden, of.intermediate, of.queries, of.keys
    linears = {
        "self_attn.q_proj": (queries, hidden), "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden), "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {
        f"{name}.weight": (hidden,) for name in _norms(family)
    } | {f"{name}.weight": shape for name, shape in linears.items()}
    if family == "qwen3":
        width = queries // config["num_attention_heads"]
        shapes |= {f"self_attn.{name}_norm.weight": (width,) for name in "qk"}
    biased = [name for name in linears if _has_bias(config, name)]
    return shapes | {f"{name}.bias": linears[name][:1] for name in biased}


def _norms(family: str) -> list[str]:
    norms = ["input_layernorm", "post_attention_layernorm"]
    if family == "gemma2":
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    return norms


def _has_bias(config: Mapping[str, Any], linear: str) -> bool:
    family = config["model_type"]
    if linear.startswith("mlp."):
        return family == "llama" and bool(config.get("mlp_bias"))
    if family == "qwen2":
        return linear != "self_attn.o_proj"
    return family not in _FREE_OF_BIAS and bool(config.get("attention_bias"))


def head_width(config: Any) -> int:
    """Width of one attention head, of a config as transformers reads it."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def kv_bytes_a_token(config: Any, itemsize: int) -> int:
    """Bytes of keys and values that all layers keep for each token.

    Args:
        config: the language model's, read by transformers.
        itemsize: bytes of a number in the cache.
    """
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return kv_bytes(config.num_hidden_layers, heads * head_width(config), itemsize)


def kv_bytes(layers: int, keys: int, itemsize: int) -> int:
    """Bytes of keys and values of a token, in `layers` layers with key heads of `keys` in all."""
    return 2 * layers * keys * itemsize
