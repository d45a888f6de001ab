"""A plain AdamW loop over padded batches; enough for models of half a million weights."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from demo.config import TrainedConfig
from runtime.progress import Reading

log = logging.getLogger(__name__)

Example = TypeVar("Example")

_SAY_EVERY_SECONDS = 3.0


def fit(
    weights: Sequence[nn.Parameter],
    rows: Sequence[Example],
    loss_of: Callable[[Sequence[Example]], Tensor],
    config: TrainedConfig,
    unit: str,
) -> None:
    """One pass over `rows` as they lie, on a cosine schedule; `loss_of(batch)` is a scalar."""
    batch, learning_rate = config.batch, config.learning_rate
    steps = len(rows) // batch
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step / steps))
    started = said = time.monotonic()
    for step in range(steps):
        loss = loss_of(rows[step * batch : (step + 1) * batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        if time.monotonic() - said >= _SAY_EVERY_SECONDS:
            said = time.monotonic()
            _say(Reading(step + 1, steps, unit, 0, said - started, f"loss {loss.item():.2f}"))


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Right-padded ids, int64 [B, T]."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def _say(reading: Reading) -> None:
    left = reading.seconds_left or 0.0
    log.info("%d of %d %s, %s, %.0f s left", reading.done, reading.total, reading.unit,
             reading.note, left)  # fmt: skip


def _cosine(done: float, warmup: float = 0.05) -> float:
    """Factor of the learning rate after a share `done` of the steps."""
    return min((done + 0.005) / warmup, (1 + math.cos(math.pi * done)) / 2)
