"""What experience says of a training config before it runs. Pure: messages, nothing is changed."""

from collections.abc import Iterator

from training.config import FormatConfig, TrainConfig

_BILLION = 1e9
# 256 and 1,024 in its place took the length-controlled win rate from 50.3 to 39.2 and 34.8
# (SimPO#61).
_PUBLISHED_BATCH = 128
# Full tuning: recipe, section 2. Adapters: ten times as much ("LoRA Without Regret",
# thinkingmachines.ai/blog/lora); the alignment handbook's DPO of zephyr-7b with LoRA has 5e-6.
_FULL_RATES = (3e-7, 1e-6)
_LORA_RATES = (3e-6, 1e-5)
_SFT_RATE = 5e-6
# The smallest of Tinker's swept rates for supervised adapters (tinker_cookbook.hyperparam_utils).
_LORA_SFT_RATE = 1e-4


def published_rates(
    training: TrainConfig, parameters: float | None = None
) -> tuple[float, float] | None:
    """The lowest and the highest learning rate published for such training, where they say
    anything of it: not of a small model's, nor of supervised fine-tuning."""
    if not training.loss.reads_rejected or (parameters is not None and parameters < _BILLION):
        return None
    return _LORA_RATES if training.lora else _FULL_RATES


def advice(
    training: TrainConfig, formatting: FormatConfig | None = None, parameters: float | None = None
) -> list[str]:
    """One message for each setting that others had trouble with: the key, its value, why.

    Args:
        parameters: the policy's size where it is known. The published rates and batch are of
            models of billions, so of a smaller one nothing is said about them.
    """
    messages: list[str] = []
    if published_rates(training, parameters):
        rates = _lora_rate if training.lora else _learning_rate
        messages += [*rates(training), *_batch(training)]
    messages += [*training.loss.advice()]
    if formatting:
        messages += [*_format(formatting)]
    return messages


def unadvised(training: TrainConfig, parameters: float | None) -> str | None:
    """That nothing can be said of the rate and the batch, and why; None where it can."""
    if published_rates(training, parameters):
        return None
    what = f"a policy of {parameters:,.0f} parameters" if parameters else "this policy"
    if not training.loss.reads_rejected:
        what = f"the loss {training.loss.kind}"
    return (
        f"learning_rate {training.learning_rate:g} and global_batch {training.global_batch} are "
        "not judged: what is published is of preference training of models of billions of "
        f"parameters, not of {what}"
    )


def _learning_rate(config: TrainConfig) -> Iterator[str]:
    rate = config.learning_rate
    if rate >= _SFT_RATE:
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


def _lora_rate(config: TrainConfig) -> Iterator[str]:
    rate, (low, high) = config.learning_rate, _LORA_RATES
    reason = f"adapters start at zero and need about ten times its rate ({low:g} to {high:g})"
    if rate <= _FULL_RATES[1]:
        yield f"learning_rate {rate:g} with LoRA is one of full tuning: {reason}"
    elif rate >= _LORA_SFT_RATE:
        yield (
            f"learning_rate {rate:g} with LoRA is one of supervised fine-tuning; preference "
            f"training of adapters has {low:g} to {high:g}"
        )


def _format(config: FormatConfig) -> Iterator[str]:
    if config.truncation == "recipe":
        left = config.max_length - config.max_prompt_length
        yield (
            f"format.truncation `recipe` cuts both responses of a long pair to {left} tokens, "
            "even beside a short prompt; `drop` or `right` keep what fits"
        )
