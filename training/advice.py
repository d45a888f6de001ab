"""What experience says of a training config before it runs. Pure: messages, nothing is changed."""

from collections.abc import Iterator

from training.config import FormatConfig, TrainConfig
from training.loss_config import CPOConfig, DPOConfig, RDPOConfig, SimPOConfig

_BILLION = 1e9
_PUBLISHED_BATCH = 128


def advice(
    training: TrainConfig, formatting: FormatConfig | None = None, parameters: float | None = None
) -> list[str]:
    """One message for each setting that others had trouble with: the key, its value, why.

    Args:
        parameters: the policy's size where it is known. The published rates and batch are of
            models of billions, so of a smaller one nothing is said about them.
    """
    messages: list[str] = []
    if training.lora:
        messages += [*_lora(training)]
    elif parameters is None or parameters >= _BILLION:
        messages += [*_learning_rate(training), *_batch(training)]
    messages += [*_loss(training)]
    if formatting:
        messages += [*_format(formatting)]
    return messages


def _learning_rate(config: TrainConfig) -> Iterator[str]:
    rate = config.learning_rate
    if rate >= 5e-6:
        yield (
            f"learning_rate {rate:g} is one of supervised fine-tuning: preference training of a "
            "whole model collapses into repetition at 1e-5. Try 3e-7, 5e-7, 8e-7, 1e-6"
        )
    elif rate > 1e-6:
        yield (
            f"learning_rate {rate:g} is above every published setting of full tuning (3e-7 to "
            "1e-6). It is the first knob to tune: try 3e-7, 5e-7, 8e-7, 1e-6"
        )


def _batch(config: TrainConfig) -> Iterator[str]:
    if config.global_batch != _PUBLISHED_BATCH:
        yield (
            f"global_batch {config.global_batch}: all published settings have 128, and learning "
            "rates carry over only with it (256 and 1024 took AlpacaEval LC from 50.3 to 39.2 "
            "and 34.8). Keep 128, or tune learning_rate anew"
        )


def _lora(config: TrainConfig) -> Iterator[str]:
    if config.learning_rate <= 1e-6:
        yield (
            f"learning_rate {config.learning_rate:g} with LoRA is one of full tuning: adapters "
            "start at zero and need about ten times as much (5e-6 to 2e-5)"
        )


def _loss(config: TrainConfig) -> Iterator[str]:
    match config.loss:
        case SimPOConfig() as loss:
            yield from _simpo(loss)
        case DPOConfig() | RDPOConfig() | CPOConfig() as loss if loss.beta > 0.5:
            yield (
                f"loss.beta {loss.beta:g} with {loss.kind}: it scales summed log-probs, where 0.01 "
                "to 0.1 is usual; SimPO's 2 to 10 is of log-probs a token"
            )


def _simpo(loss: SimPOConfig) -> Iterator[str]:
    if loss.gamma_beta_ratio > 1:
        absolute = loss.gamma_beta_ratio
        yield (
            f"loss.gamma_beta_ratio {absolute:g} is above 1 and asks for a margin of "
            f"{loss.beta * absolute:g}: it is a ratio. If this is TRL's absolute simpo_gamma, "
            f"write {absolute / loss.beta:g}"
        )
    if loss.beta < 2:
        yield (
            f"loss.beta {loss.beta:g} is low for SimPO, whose log-probs are a token's: published "
            "settings have 2 to 10; DPO's 0.01 to 0.1 is of summed log-probs"
        )
    if loss.sft_weight:
        yield (
            f"loss.sft_weight {loss.sft_weight:g} keeps reasoning, and costs chat quality; the "
            "published models have 0"
        )


def _format(config: FormatConfig) -> Iterator[str]:
    if config.truncation == "recipe":
        left = config.max_length - config.max_prompt_length
        yield (
            f"format.truncation `recipe` cuts both responses of a long pair to {left} tokens, "
            "even beside a short prompt; `drop` or `right` keep what fits"
        )
