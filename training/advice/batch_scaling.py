"""What else changes with the global batch: rate, AdamW's averages, warm-up, steps. Pure."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from contracts.errors import UserError
from training.config import TrainConfig

Rule = Literal["sqrt", "linear"]

SOURCES = {
    "sqrt": "square-root rule for Adam, arXiv 2205.10287",
    "linear": "linear rule for SGD, arXiv 1706.02677",
}
_FEW_STEPS = 100


@dataclass(frozen=True)
class Rescaled:
    """A training config for another global batch."""

    config: TrainConfig
    notes: list[str]


def rescale(config: TrainConfig, batch: int, rule: Rule, pairs: int | None = None) -> Rescaled:
    """The config that trains about the same with `batch` pairs a step over the same epochs.

    With k = batch / config.global_batch, `sqrt` has rate * sqrt(k), 1 - beta * k for both of
    AdamW's averages and epsilon / sqrt(k); `linear` has rate * k and leaves the averages alone.
    The warm-up stays the same share of the epochs.

    Args:
        pairs: rows of the tokens, where they are known.

    Raises:
        UserError: `batch` is no batch, or so large that an average would keep nothing.
    """
    if batch < 1:
        raise UserError(f"--batch {batch}: give the pairs of a step, at least 1")
    factor = batch / config.global_batch
    changes: dict[str, Any] = {
        "global_batch": batch,
        "learning_rate": _rounded(config.learning_rate * factor),
    }
    if rule == "sqrt":
        root = math.sqrt(factor)
        changes |= {
            "learning_rate": _rounded(config.learning_rate * root),
            "adam_betas": _averages(config, factor),
            "adam_epsilon": _rounded(config.adam_epsilon / root),
        }
    scaled = config.model_copy(update=changes)
    return Rescaled(scaled, _notes(config, scaled, rule, pairs))


def steps(config: TrainConfig, pairs: int) -> tuple[int, int]:
    """Optimizer steps in all, and those of the warm-up (training.schedule)."""
    in_all = math.ceil(pairs / config.global_batch) * config.epochs
    return in_all, math.ceil(config.warmup_ratio * in_all)


def _averages(config: TrainConfig, factor: float) -> tuple[float, float]:
    first, second = (_rounded(1 - (1 - beta) * factor, 6) for beta in config.adam_betas)
    if min(first, second) < 0:
        most = math.floor(config.global_batch / (1 - min(config.adam_betas)))
        raise UserError(
            f"the square-root rule ends at {most} pairs a step, where AdamW's first average "
            "would keep nothing; tune learning_rate anew (onpolicy tune lr)"
        )
    return first, second


def _notes(old: TrainConfig, new: TrainConfig, rule: Rule, pairs: int | None) -> list[str]:
    notes = []
    if rule == "linear":
        notes.append("the optimizer is AdamW, for which the linear rule overshoots: prefer sqrt")
    factor = max(new.global_batch / old.global_batch, old.global_batch / new.global_batch)
    if factor > 8:
        notes.append(
            f"the batch changes {factor:.3g} times: rules hold for small changes; check the rate "
            "with onpolicy tune lr"
        )
    if pairs:
        (before, _), (after, warmup) = steps(old, pairs), steps(new, pairs)
        if after < _FEW_STEPS <= before:
            notes.append(f"{after} steps are few: more epochs, or a smaller batch, train further")
        if new.warmup_ratio and warmup < 2:
            notes.append("the warm-up is a single step, which runs at rate 0: raise warmup_ratio")
    return notes


def _rounded(value: float, digits: int = 3) -> float:
    return float(f"{value:.{digits}g}")
