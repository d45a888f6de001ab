"""Which pairs make up each step, in what micro-batches, at what learning rate. Pure."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from training.config import TrainConfig


@dataclass(frozen=True)
class Schedule:
    """The steps of a training run over `pairs` pairs."""

    config: TrainConfig
    pairs: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch; the last may hold fewer pairs."""
        return math.ceil(self.pairs / self.config.global_batch)

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.steps_per_epoch * self.config.epochs

    def batch(self, step: int) -> list[int]:
        """Indices of the pairs of a step, counted from 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = list(range(self.pairs))
        random.Random(f"{self.config.seed}/{epoch}").shuffle(order)
        size = self.config.global_batch
        return order[place * size : (place + 1) * size]

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0, as transformers' schedules have it: the
        first step of a warm-up runs at 0."""
        warmup = math.ceil(self.config.warmup_ratio * self.steps)
        if step < warmup:
            return self.config.learning_rate * step / warmup
        done = (step - warmup) / max(1, self.steps - warmup)
        return self.config.learning_rate * _decay(self.config.schedule, done)


@dataclass(frozen=True)
class RangeSchedule(Schedule):
    """Steps of a learning-rate range test: the rate grows from `low` to `high` by a constant
    factor (training.tuning.lr_range), over as many epochs as `count` steps need."""

    low: float
    high: float
    count: int

    @property
    def steps_per_epoch(self) -> int:
        """Whole global batches only: a short one's loss would show as a change of rate."""
        return max(1, self.pairs // self.config.global_batch)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.count

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        return self.low * math.pow(self.high / self.low, step / (self.count - 1))


def _decay(kind: str, done: float) -> float:
    if kind == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))
    return 1.0 - done if kind == "linear" else 1.0


def micro_batches(
    lengths: Sequence[int], processes: int, budget: int, padded: bool
) -> list[list[list[int]]]:
    """Split one step's pairs into forward passes: [process][pass] -> indices into `lengths`.

    A pass holds at most `budget` tokens, with its padding where rows are `padded` (a longer pair
    goes alone). Every process gets the same number of passes, since ZeRO-3's processes gather
    each layer together; a process that is short of pairs gets an empty pass.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    passes = (_padded if padded else _packed)(order, lengths, budget)
    while len(passes) % processes:
        largest = max(range(len(passes)), key=lambda number: len(passes[number]))
        whole = passes[largest]
        half = math.ceil(len(whole) / 2)
        # A pass of one pair cannot be split; its other half is an empty pass.
        passes[largest : largest + 1] = [whole[:half], whole[half:]]
    return [passes[process::processes] for process in range(processes)]


def _padded(order: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Rows of like length together: longest first, so a pass's first pair sets its width."""
    passes: list[list[int]] = []
    for index in order:
        if passes and (len(passes[-1]) + 1) * lengths[passes[-1][0]] <= budget:
            passes[-1].append(index)
        else:
            passes.append([index])
    return passes


def _packed(order: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """As few passes as fill the budget, of like total length: the slowest process sets the pace.

    Each pair, longest first, goes where it leaves the shortest pass; a pass more while one is
    over the budget.
    """
    count = max(1, math.ceil(sum(lengths) / budget))
    while True:
        passes: list[list[int]] = [[] for _ in range(min(count, len(order)))]
        totals = [0] * len(passes)
        for index in order:
            shortest = totals.index(min(totals))
            passes[shortest].append(index)
            totals[shortest] += lengths[index]
        fits = (total <= budget or len(members) == 1
                for total, members in zip(totals, passes, strict=True))  # fmt: skip
        if all(fits) or count >= len(order):
            return passes
        count += 1
