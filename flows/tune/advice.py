"""`onpolicy tune batch`, `lora` and `check`: advice without training, as lines to print."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import pyarrow.compute as pc

from contracts.errors import UserError
from contracts.tables.parts import iter_parts
from flows.pipeline.config import RunConfig
from flows.tune.source import Source, read_source
from training.advice.batch_scaling import SOURCES, rescale, steps
from training.advice.config_advice import advice, unadvised
from training.advice.lora import lora_advice, shape_of
from training.config import LoraConfig, TrainConfig


def scale(path: Path, size: int, rule: str, pairs: int | None) -> list[str]:
    """The settings for another global batch by a scaling rule, with notes.

    Raises:
        UserError: the rule is unknown, or the batch is beyond it.
    """
    if rule not in SOURCES:
        raise UserError(f"--rule {rule}: write one of {', '.join(SOURCES)}")
    source = read_source(path, [])
    old, pairs = source.run.training, pairs or source.pairs
    rescaled = rescale(old, size, cast(Literal["sqrt", "linear"], rule), pairs)
    new = rescaled.config
    lines = [f"{SOURCES[rule]}; batch {old.global_batch} -> {size}"]
    if pairs:
        (before, warm), (after, warmer) = steps(old, pairs), steps(new, pairs)
        lines += [
            f"  optimizer steps   {before} -> {after} over {pairs:,} pairs, {new.epochs} epoch(s)",
            f"  warm-up steps     {warm} -> {warmer} (warmup_ratio {new.warmup_ratio:g} stays)",
        ]
    else:
        lines.append("  steps: no run has this config's pairs yet; --pairs says how many")
    lines.append(f"  schedule          {new.schedule} stays")
    lines += [f"  {note}" for note in [*rescaled.notes, *_advice(source.run, new)]]
    changed = ("global_batch", "learning_rate", "adam_betas", "adam_epsilon")
    return lines + [
        f"training.{name}={_plain(getattr(new, name))}"
        for name in changed
        if getattr(new, name) != getattr(old, name)
    ]


def lora(path: Path, overrides: Sequence[str]) -> list[str]:
    """Rank, alpha and rate for the policy's size, with reasons."""
    source = read_source(path, overrides)
    config = source.changed
    shape = shape_of(config.pinned(config.policy.reference))
    tokens = _response_tokens(source)
    advice = lora_advice(shape, config.training, tokens)
    share = advice.parameters / shape.parameters
    targets = (config.training.lora or LoraConfig()).targets
    lines = [
        f"{config.policy.path}: {_short(shape.parameters)} parameters, adapters on {len(targets)} "
        f"kinds of layers train {_short(advice.parameters)} ({share:.1%})",
        *(f"  {reason}" for reason in advice.reasons),
        f"training.lora.rank={advice.rank}",
        f"training.lora.alpha={advice.alpha:g}",
    ]
    if advice.learning_rate:
        lines.append(f"training.learning_rate={advice.learning_rate:g}")
    return lines


def check(path: Path, overrides: Sequence[str]) -> list[str]:
    """A line for each setting that others had trouble with."""
    config = read_source(path, overrides).changed
    said = _advice(config, config.training)
    silent = unadvised(config.training, _parameters(config))
    return [*said, *([silent] if silent else [])] or ["nothing here is off the published path"]


def _advice(config: RunConfig, training: TrainConfig) -> list[str]:
    return advice(training, config.format, _parameters(config))


def _parameters(config: RunConfig) -> int | None:
    """None where the policy is not at hand: advised as the models of billions, whose settings are
    published."""
    try:
        return shape_of(config.pinned(config.policy.reference)).parameters
    except UserError:
        return None


def _response_tokens(source: Source) -> int | None:
    """Tokens in the loss, chosen and rejected, if the round's tokens are made."""
    if source.pairs is None:
        return None
    total = 0
    for part in iter_parts(source.run.folder / f"round-{source.round}" / "tokens"):
        for side in ("chosen", "rejected"):
            lengths = pc.list_value_length(part[f"{side}_ids"])
            total += pc.sum(pc.subtract(lengths, part[f"{side}_loss_start"])).as_py()
    return total


def _plain(value: float | tuple[float, ...]) -> str:
    if isinstance(value, tuple):
        return "[" + ",".join(f"{item:g}" for item in value) + "]"
    return f"{value:g}"


def _short(count: int) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)
