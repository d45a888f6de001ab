"""Scoring with ArmoRM, the prompt shared by its responses or in right-padded rows."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from annotation.annotators.armorm import ArmoRMConfig
from annotation.annotators.base import ScoreResources
from annotation.armorm.model import ArmoRM, Rewards, load_armorm
from annotation.armorm.shared_prompt import pack
from annotation.scorers import batches
from annotation.scorers.batches import Group
from annotation.scorers.heads import objective_names
from annotation.scorers.protocol import Score, checked
from annotation.scorers.reward_models import ModelScorer, placement
from contracts.chat import ChatFormat, RowError, Tokens
from contracts.errors import UserError
from contracts.models.model import load_tokenizer


class ArmoRMScorer(ModelScorer):
    """ArmoRM in any layout; all give the same scores."""

    model: ArmoRM
    config: ArmoRMConfig

    def __init__(
        self, config: ArmoRMConfig, model: ArmoRM, chat: ChatFormat, resources: ScoreResources
    ) -> None:
        super().__init__(config, model, chat, resources)
        self.header = chat.header_ids()
        by_device = "packed" if model.device.type == "cuda" else "shared"
        self.layout = by_device if resources.layout == "auto" else resources.layout
        self.names = objective_names(model.regression_layer.out_features)
        weights = own_weights(config, self.names)
        self.weights = None if weights is None else weights.to(model.device)

    @property
    def facts(self) -> dict[str, Any]:
        """The device, the dtype, the layout and the names of the objectives."""
        return {**super().facts, "objectives": list(self.names), "layout": self.layout}

    def _read(self, tokens: Tokens) -> tuple[list[int], int]:
        return tokens.response, gate_position(tokens.prompt, self.header)

    def _batches(self, groups: list[Group]) -> Iterator[tuple[int, Score]]:
        if self.layout == "padded":
            groups, size = batches.alone(groups), batches.padded_tokens
            return batches.in_batches(groups, self.budget, size, self._forward_padded)
        return batches.in_batches(groups, self.budget, batches.packed_tokens, self._forward_shared)

    def _forward_shared(self, batch: Sequence[Group]) -> list[Score]:
        packed = pack(batch, self.model.device, whole=self.layout == "packed")
        return to_scores(self.model.forward_shared(packed), self.weights)

    def _forward_padded(self, batch: Sequence[Group]) -> list[Score]:
        device = self.model.device
        last = torch.tensor([group.tokens - 1 for group in batch], device=device)
        gating_at = torch.tensor([group.gating_at for group in batch], device=device)
        return to_scores(self.model(self._padded(batch), last, gating_at), self.weights)


def open_armorm(config: ArmoRMConfig, reference: str, resources: ScoreResources) -> ArmoRMScorer:
    """ArmoRM on its device.

    Raises:
        UserError: the model or its tokenizer cannot be used; says why.
    """
    chat = ChatFormat(load_tokenizer(reference), config.bos, config.date)
    device, dtype = placement(config, resources)
    return ArmoRMScorer(config, load_armorm(reference, device, dtype), chat, resources)


def gate_position(prompt: Sequence[int], header: Sequence[int]) -> int:
    """Index in the prompt's ids where the gating is read: the last assistant header's start.

    Raises:
        RowError: there is no such header.
    """
    start = last_occurrence(prompt, header)
    if start is None:
        raise RowError("no_gate", f"the prompt's tokens lack the assistant's header {header}")
    return start


def own_weights(config: ArmoRMConfig, names: Sequence[str]) -> Float[Tensor, "objectives"] | None:
    """The user's own weights, or None where the gating weighs.

    Raises:
        UserError: a weight is for no objective of the model.
    """
    if config.weights is None:
        return None
    if unknown := sorted(set(config.weights) - set(names)):
        raise UserError(
            f"annotator {config.name!r}: no objective is named {unknown[0]!r}; "
            f"they are {', '.join(names)}"
        )
    return torch.tensor([config.weights.get(name, 0.0) for name in names])


def to_scores(rewards: Rewards, weights: Float[Tensor, "objectives"] | None) -> list[Score]:
    """A batch's scores, by the gating or by `weights`."""
    scores = rewards.scores if weights is None else rewards.objectives @ weights
    columns = (scores, rewards.objectives, rewards.gating)
    return list(map(checked, *(column.tolist() for column in columns)))


def last_occurrence(ids: Sequence[int], pattern: Sequence[int]) -> int | None:
    """Index where `pattern` starts for the last time in `ids`, or None."""
    for start in range(len(ids) - len(pattern), -1, -1):
        if list(ids[start : start + len(pattern)]) == list(pattern):
            return start
    return None
