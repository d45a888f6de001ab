"""What the demo's models are made of; any change makes them anew."""

from pydantic import Field

from contracts.config import Config


class PolicyConfig(Config):
    """A Gemma-2 small enough for two cores."""

    hidden_size: int = 96
    """Width of the residual stream."""
    intermediate_size: int = 256
    """Width inside the MLPs."""
    layers: int = 3
    """Sliding, full, sliding attention."""
    heads: int = 3
    """Query heads, sharing one key-value head."""
    head_dim: int = 32
    """The least that vLLM's CPU attention has."""
    initial_std: float = 0.06
    """Of the first weights; at Gemma's 0.02 the categories take four times as long to learn."""
    examples: int = 6_000
    """Answers taught: good ones first, then of mixed quality."""
    batch: int = 16
    """Answers a step."""
    learning_rate: float = 3e-3
    """Peak of the cosine schedule."""


class RewardModelConfig(Config):
    """A Llama backbone under ArmoRM's heads."""

    hidden_size: int = 96
    """Width of the residual stream."""
    intermediate_size: int = 256
    """Width inside the MLPs."""
    layers: int = 3
    """Decoder layers."""
    heads: int = 3
    """Query heads, each with its own keys and values."""
    gating_hidden: int = 64
    """Width of the gate's three hidden layers."""
    initial_std: float = 0.06
    """Of the first weights."""
    examples: int = 8_000
    """Answers written by the world, of every quality."""
    sampled_prompts: int = 256
    """Prompts that the policy itself answers, so that its own ways are known."""
    samples: int = 8
    """Its answers to each of them."""
    batch: int = 16
    """Answers a step."""
    learning_rate: float = 2e-3
    """Peak of the cosine schedule."""
    reward_weight: float = 10.0
    """Of the rewards' squared errors beside the notes' cross-entropy."""


class DemoConfig(Config):
    """The demo's world: the same bytes from the same config on the same machine."""

    seed: int = Field(default=0, ge=0)
    """Seed of the texts, the first weights and the samples."""
    vocab_size: int = Field(default=1024, ge=300)
    """Tokens of each tokenizer."""
    context: int = Field(default=2048, ge=128)
    """Longest conversation in tokens, of both models."""
    policy: PolicyConfig = PolicyConfig()
    """The policy's shape and teaching."""
    reward_model: RewardModelConfig = RewardModelConfig()
    """The reward model's."""
