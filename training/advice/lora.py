"""LoRA's rank, alpha and rate for a model of a given shape. Pure but for reading the shape."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import UserError, first_line
from contracts.models.architecture import Sizes, head_width, sizes
from contracts.models.hub import model_file
from contracts.models.model import load_settings
from contracts.models.weights import read_config
from training.advice.config_advice import published_rates
from training.config import LoraConfig, TrainConfig

log = logging.getLogger(__name__)

# The alignment handbook's DPO of Mistral-7B on UltraFeedback's 60k pairs (recipes/zephyr-7b-beta/
# dpo/config_qlora.yaml): rank 16, alpha 16, rate 5e-6 on all linear layers, 42M parameters.
_PUBLISHED_RANK = 16
_PUBLISHED_RATE = 5e-6
_PUBLISHED_WIDTHS = 81_920 * 32
_RANKS = (16, 256)


class Shape(Sizes):
    """The sizes of a decoder that LoRA and its cost depend on."""

    @property
    def widths(self) -> dict[str, int]:
        """Linear layer to inputs plus outputs: its LoRA parameters at rank 1."""
        return {
            "q_proj": self.hidden + self.queries,
            "k_proj": self.hidden + self.keys,
            "v_proj": self.hidden + self.keys,
            "o_proj": self.queries + self.hidden,
            **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), self.hidden + self.intermediate),
        }

    @property
    def parameters(self) -> int:
        """Parameters of the model, its norms left out."""
        layer = 2 * self.hidden * (self.queries + self.keys) + 3 * self.hidden * self.intermediate
        return self.layers * layer + self.vocabulary * self.hidden * (1 if self.tied else 2)


@dataclass(frozen=True)
class LoraAdvice:
    """What to set, and why."""

    rank: int
    alpha: float
    learning_rate: float | None
    """None where nothing is published of such a small model."""
    parameters: int
    """Trained parameters at that rank."""
    reasons: list[str]


def lora_advice(
    shape: Shape, training: TrainConfig, response_tokens: int | None = None
) -> LoraAdvice:
    """Rank, alpha and rate for adapters on the config's target layers.

    Args:
        response_tokens: tokens in the loss, chosen and rejected, where they are known.
    """
    targets = (training.lora or LoraConfig()).targets
    known = shape.widths
    per_rank = shape.layers * sum(known.get(name, 0) for name in targets)
    if not per_rank:
        raise UserError(f"lora.targets: none of {', '.join(targets)} is one of {', '.join(known)}")
    tokens_needed = _PUBLISHED_RANK * _PUBLISHED_WIDTHS / per_rank
    reasons = [
        f"rank: as many trained parameters as the published DPO of a 7B has at rank "
        f"{_PUBLISHED_RANK} (42M, alignment handbook, zephyr-7b DPO)"
    ]
    if response_tokens and response_tokens > tokens_needed * per_rank:
        tokens_needed = response_tokens / per_rank
        reasons = [
            f"rank: a trained parameter for each of the {response_tokens:,} response tokens, below "
            "which adapters learn less than full tuning (LoRA Without Regret; Tinker's LoRA primer)"
        ]
    most = min(_RANKS[1], 2 ** int(math.log2(shape.hidden / 4)))
    rank = min(max(_power_of_two(tokens_needed), _RANKS[0]), most)
    if rank == most < _RANKS[1]:
        reasons = [
            f"rank: at most a quarter of the hidden size, {shape.hidden}; more is hardly low"
        ]
    reasons.append(
        "alpha: equal to the rank, as published; the product is scaled by alpha / rank, so change "
        "both together or the rate changes with them"
    )
    rates = published_rates(training.model_copy(update={"lora": LoraConfig()}), shape.parameters)
    reasons.append(
        f"learning_rate: {_PUBLISHED_RATE:g} as published with this alpha; ten times full "
        f"tuning's, up to {rates[1]:g}, for ranks and sizes alike (LoRA Without Regret)"
        if rates
        else "learning_rate: about ten times full tuning's (LoRA Without Regret); find it with "
        "onpolicy tune lr"
    )
    if set(targets) != set(known):
        reasons.append(
            "targets: adapters on all linear layers learn more than on attention alone, also at "
            "the same number of parameters (LoRA Without Regret)"
        )
    rate = _PUBLISHED_RATE if rates else None
    return LoraAdvice(rank, float(rank), rate, rank * per_rank, reasons)


def _power_of_two(rank: float) -> int:
    """The next one, or the one before where that is much nearer."""
    return int(2 ** math.ceil(math.log2(rank) - 0.25))


def shape_of(reference: str) -> Shape:
    """The shape of a model on the hub or in a folder; its weights are not loaded.

    By its config.json alone where that says it: transformers would be imported for it with
    torch, 17 CPU seconds of a command that trains nothing.

    Raises:
        UserError: there is no such model, or it is not a decoder of the families known here.
    """
    if (file := _config_file(reference)) and (known := sizes(read_config(file.parent))):
        return Shape(**vars(known))
    log.info("reading the config of %s with transformers, which takes some seconds", reference)
    config = load_settings(reference, "its config cannot be read")
    try:
        head = head_width(config)
        return Shape(
            config.num_hidden_layers, config.hidden_size, config.intermediate_size,
            head * config.num_attention_heads, head * config.num_key_value_heads,
            config.vocab_size, config.tie_word_embeddings,
        )  # fmt: skip
    except AttributeError as error:
        reason = first_line(error)
        raise UserError(f"{reference}: its config cannot be read: {reason}") from None


def _config_file(reference: str) -> Path | None:
    """
    Raises:
        UserError: there is no such model.
    """
    try:
        return model_file(reference, "config.json")
    except UserError as error:
        raise UserError(f"{reference}: its config cannot be read: {error}") from None
