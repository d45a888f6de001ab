"""What the demo's models are made of; any change makes them anew."""

from pydantic import Field

from contracts.config.base import Config


class TrainedConfig(Config):
    """A tiny model's shape, and what it is taught."""

    hidden_size: int = 96
    """Width of the residual stream."""
    intermediate_size: int = 256
    """Width inside the MLPs."""
    layers: int = 3
    """Decoder layers; the policy's are sliding, full, sliding attention."""
    heads: int = 3
    """Query heads; the policy's share one key-value head."""
    initial_std: float = 0.06
    """Of the first weights; at Gemma's 0.02 the categories take four times as long to learn."""
    batch: int = 16
    """Answers a step."""
    learning_rate: float = 2e-3
    """Peak of the cosine schedule."""


class PolicyConfig(TrainedConfig):
    """A Gemma-2 small enough for two cores."""

    head_dim: int = 32
    """The least that vLLM's CPU attention has."""
    examples: int = 6_000
    """Answers taught: good ones first, then of mixed quality."""
    learning_rate: float = 3e-3
    """Peak of the cosine schedule."""


class RewardModelConfig(TrainedConfig):
    """A Llama backbone under ArmoRM's heads."""

    gating_hidden: int = 64
    """Width of the gating's three hidden layers."""
    examples: int = 8_000
    """Answers written by the world, of every quality."""
    sampled_prompts: int = 256
    """Prompts that the policy itself answers, so that its own ways are known."""
    samples: int = 8
    """Its answers to each of them."""
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
