"""How well the learned reward follows the true one."""

from collections.abc import Sequence

import torch

from annotation.armorm.model import ArmoRM
from demo.examples import Example
from demo.fit import pad

_BATCH = 256


@torch.no_grad()
def learned_scores(model: ArmoRM, examples: Sequence[Example]) -> list[float]:
    """The model's score of each example."""
    scores: list[float] = []
    for first in range(0, len(examples), _BATCH):
        batch = examples[first : first + _BATCH]
        rewards = model(
            pad([row.ids for row in batch], model.config.pad_token_id),
            torch.tensor([len(row.ids) - 1 for row in batch]),
            torch.tensor([row.gating_at for row in batch]),
        )
        scores += rewards.scores.tolist()
    return scores


def correlation(model: ArmoRM, examples: Sequence[Example]) -> float:
    """Pearson correlation of the learned score with the true one."""
    both = torch.tensor([learned_scores(model, examples), [row.score for row in examples]])
    return round(float(torch.corrcoef(both.double())[0, 1]), 4)
