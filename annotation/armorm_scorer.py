"""Scoring with ArmoRM, the prompt shared by its responses or in right-padded rows."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from annotation import batches
from annotation.armorm import ArmoRM, Rewards, load_armorm, objective_names
from annotation.batches import Group
from annotation.config import ArmoRMConfig, ScoreResources
from annotation.reward_models import ModelScorer, placement
from annotation.scorer import Score, checked
from annotation.shared_prompt import pack
from contracts.chat import ChatFormat, RowError, Tokens
from contracts.errors import UserError
from contracts.model import load_tokenizer


class ArmoRMScorer(ModelScorer):
    """ArmoRM in either layout; both give the same scores."""

    model: ArmoRM
    config: ArmoRMConfig

    def __init__(
        self, config: ArmoRMConfig, model: ArmoRM, chat: ChatFormat, resources: ScoreResources
    ) -> None:
        super().__init__(config, model, chat, resources.batch_tokens)
        self.header = chat.header_ids()
        self.shared = resources.layout == "shared"
        self.names = objective_names(model.regression_layer.out_features)
        self.weights = self._own_weights()

    @property
    def facts(self) -> dict[str, Any]:
        """As `Scorer.facts`."""
        return {**super().facts, "objectives": list(self.names)}

    def _read(self, tokens: Tokens) -> tuple[list[int], int]:
        gate_at = last_occurrence(tokens.prompt, self.header)
        if gate_at is None:
            raise RowError(
                "no_gate", f"the prompt's tokens lack the assistant's header {self.header}"
            )
        return tokens.response, gate_at

    def _batches(self, groups: list[Group]) -> Iterator[tuple[int, Score]]:
        if self.shared:
            return batches.in_batches(
                groups, self.budget, batches.packed_tokens, self._forward_shared
            )
        groups = batches.alone(groups)
        return batches.in_batches(groups, self.budget, batches.padded_tokens, self._forward_padded)

    def _forward_shared(self, batch: Sequence[Group]) -> list[Score]:
        return self._scores(self.model.forward_shared(pack(batch, self.model.device)))

    def _forward_padded(self, batch: Sequence[Group]) -> list[Score]:
        device = self.model.device
        last = torch.tensor([group.tokens - 1 for group in batch], device=device)
        gate_at = torch.tensor([group.gate_at for group in batch], device=device)
        return self._scores(self.model(self._padded(batch), last, gate_at))

    def _scores(self, rewards: Rewards) -> list[Score]:
        scores = rewards.scores
        if self.weights is not None:
            scores = rewards.objectives @ self.weights
        columns = (scores, rewards.objectives, rewards.gates)
        return list(map(checked, *(column.tolist() for column in columns)))

    def _own_weights(self) -> Tensor | None:
        """[K], or None where the gate weighs."""
        if self.config.weights is None:
            return None
        if unknown := sorted(set(self.config.weights) - set(self.names)):
            raise UserError(
                f"annotator {self.config.name!r}: no objective is named {unknown[0]!r}; "
                f"they are {', '.join(self.names)}"
            )
        own = [self.config.weights.get(name, 0.0) for name in self.names]
        return torch.tensor(own, device=self.model.device)


def open_armorm(config: ArmoRMConfig, reference: str, resources: ScoreResources) -> ArmoRMScorer:
    """ArmoRM on its device.

    Raises:
        UserError: the model or its tokenizer cannot be used; says why.
    """
    chat = ChatFormat(load_tokenizer(reference), config.bos)
    device, dtype = placement(config, resources)
    return ArmoRMScorer(config, load_armorm(reference, device, dtype), chat, resources)


def last_occurrence(ids: Sequence[int], pattern: Sequence[int]) -> int | None:
    """Index where `pattern` starts for the last time in `ids`, or None."""
    for start in range(len(ids) - len(pattern), -1, -1):
        if list(ids[start : start + len(pattern)]) == list(pattern):
            return start
    return None
