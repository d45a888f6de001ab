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


def _decay(kind: str, done: float) -> float:
    if kind == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))
    return 1.0 - done if kind == "linear" else 1.0


def micro_batches(lengths: Sequence[int], processes: int, budget: int) -> list[list[list[int]]]:
    """Split one step's pairs into forward passes: [process][pass] -> indices into `lengths`.

    Pairs of like length go together, and a pass holds at most `budget` tokens with its padding
    (a longer pair goes alone). Every process gets the same number of passes, since ZeRO-3's
    processes gather each layer together; a process that is short of pairs gets an empty pass.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    passes: list[list[int]] = []
    for index in order:
        # Longest first, so a pass's first pair sets its width.
        if passes and (len(passes[-1]) + 1) * lengths[passes[-1][0]] <= budget:
            passes[-1].append(index)
        else:
            passes.append([index])
    while len(passes) % processes:
        largest = max(range(len(passes)), key=lambda number: len(passes[number]))
        whole = passes[largest]
        half = math.ceil(len(whole) / 2)
        # A pass of one pair cannot be split; its other half is an empty pass.
        passes[largest : largest + 1] = [whole[:half], whole[half:]]
    return [passes[process::processes] for process in range(processes)]
