"""Sizes of models: the published ones, and the tiny ones that the CPU's figures are taken with."""

from dataclasses import dataclass
from typing import Any, Literal

from flows.forecast.memory import Model

_ROPE_THETA = {"llama": 500_000.0, "qwen2": 1_000_000.0}


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes.

    Weights of a shape are random: what is measured depends on none of their values.
    """

    family: Literal["gemma2", "llama", "qwen2"]
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    intermediate: int
    score_scale: int = 0
    """What attention scores are divided by, squared (Gemma-2); 0 is the head's size."""

    @property
    def settings(self) -> dict[str, Any]:
        """Its config.json."""
        own: dict[str, Any] = {
            "model_type": self.family, "vocab_size": self.vocabulary, "hidden_size": self.hidden,
            "intermediate_size": self.intermediate, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "num_key_value_heads": self.key_heads,
            "head_dim": self.head_size, "max_position_embeddings": 8192,
            "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
        }  # fmt: skip
        if self.family in _ROPE_THETA:
            rope = {"rope_type": "default", "rope_theta": _ROPE_THETA[self.family]}
            return own | {"tie_word_embeddings": False, "rope_parameters": rope}
        scale = self.score_scale or self.head_size
        return own | {"query_pre_attn_scalar": scale, "sliding_window": 4096}

    def config(self, **others: Any) -> Any:
        """The same as transformers reads it, with `others` in place of its own."""
        from transformers import AutoConfig

        return AutoConfig.for_model(**self.settings | others)

    @property
    def parameters(self) -> int:
        """Numbers in all tensors of the language model."""
        model = Model.read(self.settings)
        assert model
        return model.parameters

    @property
    def queries(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_size

    @property
    def keys(self) -> int:
        """Width of all key heads together."""
        return self.key_heads * self.head_size

    def matmul_parameters(self, with_head: bool) -> int:
        """Weights that each token is multiplied with."""
        attention = self.hidden * 2 * (self.queries + self.keys)
        layers = self.layers * (attention + 3 * self.hidden * self.intermediate)
        return layers + (self.vocabulary * self.hidden if with_head else 0)

    def training_flops(self, prompt: int, *responses: int) -> float:
        """What one forward and backward pass over a prompt and its responses needs: the prompt
        once, the head at response tokens only, backward twice; what is recomputed is not counted.
        """
        layers = 2.0 * self.matmul_parameters(with_head=False) * (prompt + sum(responses))
        head = 2.0 * self.vocabulary * self.hidden * sum(responses)
        seen = prompt**2 / 2 + sum(n * prompt + n**2 / 2 for n in responses)
        return 3 * (layers + head + 4.0 * seen * self.queries * self.layers)


def tiny_gemma(vocabulary: int = 32_000, hidden: int = 256, layers: int = 6) -> Shape:
    """A Gemma-2 with heads of 64, in the ratios of the 2B one."""
    heads = hidden // 64
    return Shape("gemma2", vocabulary, hidden, layers, heads, heads // 2, 64, 4 * hidden)


# config.json of google/gemma-2-{2b,9b,27b}, meta-llama/Meta-Llama-3-8B and Qwen/Qwen2.5-7B on the
# Hugging Face hub.
PUBLISHED = {
    "gemma-2-2b": Shape("gemma2", 256_000, 2304, 26, 8, 4, 256, 9216),
    # Eight of 42 layers: beside AdamW's states in float32, no more fit 80 GB with their passes.
    "gemma-2-9b-width": Shape("gemma2", 256_000, 3584, 8, 16, 8, 256, 14_336),
    "gemma-2-9b": Shape("gemma2", 256_000, 3584, 42, 16, 8, 256, 14_336),
    "gemma-2-27b": Shape("gemma2", 256_000, 4608, 46, 32, 16, 128, 36_864, score_scale=144),
    "llama-3-8b": Shape("llama", 128_256, 4096, 32, 32, 8, 128, 14_336),
    "qwen2.5-7b": Shape("qwen2", 152_064, 3584, 28, 28, 4, 128, 18_944),
}
