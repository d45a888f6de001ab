"""What annotators with a model share: their own template's token ids, errors, batches."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from annotation.annotators.base import RewardModel, ScoreResources
from annotation.scorers.batches import Group
from annotation.scorers.padding import pad_id_of
from annotation.scorers.protocol import Conversation, Score, Scoring
from contracts.chat import ChatFormat, RowError, Tokens
from contracts.errors import UserError
from runtime.device import dtype_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TokenScorer(ABC):
    """Tokenises conversations, keeps the errors, and has the rest scored."""

    def __init__(self, config: RewardModel, chat: ChatFormat) -> None:
        self.config = config
        self.chat = chat

    def score(self, conversations: Sequence[Conversation]) -> list[Score]:
        """A score or an error for each response of each conversation, in order."""
        return self.prepare(conversations)()

    def prepare(self, conversations: Sequence[Conversation]) -> Scoring:
        """Tokenise; what is left is the model's work."""
        return partial(self._score, *self._tokenise(conversations))

    def _score(self, groups: list[Group], scores: list[Score]) -> list[Score]:
        with torch.inference_mode():
            for row, score in self._batches(groups):
                scores[row] = replace(score, cut=scores[row].cut)
        return scores

    def groups(self, conversations: Sequence[Conversation]) -> list[Group]:
        """What the model reads of conversations, those left out that have errors."""
        return self._tokenise(conversations)[0]

    @abstractmethod
    def _batches(self, groups: list[Group]) -> Iterator[tuple[int, Score]]:
        """Pairs of row and score."""

    @abstractmethod
    def _read(self, tokens: Tokens) -> tuple[list[int], int]:
        """The response's ids that the model reads, and where in the prompt its gating is read."""

    def _tokenise(self, conversations: Sequence[Conversation]) -> tuple[list[Group], list[Score]]:
        groups: list[Group] = []
        scores: list[Score] = []
        asked = ((conversation.messages, conversation.responses) for conversation in conversations)
        for answers in self.chat.all_tokens(asked):
            group: Group | None = None
            for tokens in answers:
                try:
                    prompt, response, gating_at, cut = self._ids(tokens)
                except RowError as error:
                    scores.append(Score(error=f"{error.reason}: {error}"))
                    continue
                group = group or Group(prompt, [], [], gating_at)
                group.responses.append(response)
                group.rows.append(len(scores))
                scores.append(Score(cut=cut))
            if group:
                groups.append(group)
        return groups, scores

    def _ids(self, tokens: Tokens | RowError) -> tuple[list[int], list[int], int, int | None]:
        """Prompt, response and gating position, within the length limit, and what was cut off."""
        if isinstance(tokens, RowError):
            raise tokens
        response, gating_at = self._read(tokens)
        length, limit = len(tokens.prompt) + len(response), self.config.max_length
        if length <= limit:
            return tokens.prompt, response, gating_at, None
        if self.config.too_long == "error" or len(tokens.prompt) >= limit:
            raise RowError("too_long", f"{length} tokens, max_length is {limit}")
        return tokens.prompt, response[: limit - len(tokens.prompt)], gating_at, length - limit


class ModelScorer(TokenScorer):
    """Scores in batches with a model of transformers' in this process."""

    def __init__(
        self,
        config: RewardModel,
        model: "PreTrainedModel",
        chat: ChatFormat,
        resources: ScoreResources,
    ) -> None:
        super().__init__(config, chat)
        self.model = model
        self.budget = budget_of(resources, model.device)
        pad = model.config.get_text_config().pad_token_id
        vocabulary = model.get_input_embeddings().num_embeddings
        self.pad_id = pad_id_of(config, chat, pad, vocabulary)

    @property
    def facts(self) -> dict[str, Any]:
        """The device and the dtype."""
        return {"dtype": str(self.model.dtype), "device": self.model.device.type}

    def _padded(self, batch: Sequence[Group]) -> Int[Tensor, "rows length"]:
        """Rows of one conversation each, padded on the right."""
        rows = [[*group.prompt, *group.responses[0]] for group in batch]
        width = max(map(len, rows))
        ids = [row + [self.pad_id] * (width - len(row)) for row in rows]
        return torch.tensor(ids, device=self.model.device)


def budget_of(resources: ScoreResources, device: torch.device) -> int:
    """Tokens that a batch may hold."""
    return resources.batch_tokens or (2048 if device.type == "cpu" else 16_384)


def placement(config: RewardModel, resources: ScoreResources) -> tuple[torch.device, torch.dtype]:
    """Device and backbone dtype.

    Raises:
        UserError: a CUDA device is asked for where there is none.
    """
    name = resources.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"resources.device is {name!r}, but torch sees no CUDA device here")
    return torch.device(name), getattr(torch, dtype_of(config.dtype, name))
